"""Celery applications as users hand them over."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["application", "import_application", "name_of"]


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


def import_application(place: str, import_module: Callable[[str], Any] = importlib.import_module) -> Any:
    """Return what ``celery -A`` would find at ``place``, such as ``"proj.celery:app"`` or ``"proj"``.

    Raises:
        Exception: what the import raised. Celery's own function says of a module that raised an ``AttributeError``, or
            that has no such name, that there is no module ``'proj.celery:app'``; and of a package whose ``celery``
            cannot be imported, that it has none.
    """
    from celery.app.utils import find_app

    find: Any = find_app
    try:
        return find(place, imp=import_module)
    except ImportError as error:
        if isinstance(error.__context__, AttributeError):
            raise error.__context__ from None
        raise
    except AttributeError as error:
        submodule = f"{place}.celery"
        if ":" not in place:
            try:
                import_module(submodule)
            except ModuleNotFoundError as missing:
                if missing.name != submodule:
                    raise
        raise error from None


def name_of(app: Celery) -> str:
    """For messages."""
    return repr(app.main or "unnamed")
