"""Celery applications as users hand them over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["application", "name_of"]


def application(value: Any) -> Celery:
    """Return the Celery application that ``value`` is, or stands for.

    Raises:
        TypeError: it is none.
    """
    from celery import Celery

    # ``celery.current_app`` is a proxy, for whatever application is the current one.
    unwrapped = getattr(value, "_get_current_object", None)
    app = unwrapped() if callable(unwrapped) else value
    if not isinstance(app, Celery):
        raise TypeError(f"app must be a Celery application, not {type(value).__name__}")
    return app


def name_of(app: Celery) -> str:
    """For messages."""
    return repr(app.main or "unnamed")
