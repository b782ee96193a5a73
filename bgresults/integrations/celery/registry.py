""":func:`from_celery`: one watcher for each Celery application."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bgresults.forking import leaf_lock
from bgresults.integrations.celery.applications import application, name_of
from bgresults.integrations.celery.watcher import CeleryResultWatcher
from bgresults.options import AMQPOptions
from bgresults.safe_logging import log_safely
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["from_celery", "open_watcher", "separate_watcher"]

_logger = logging.getLogger("bgresults")
# On the application itself: a table would keep it alive, since its watcher does.
_ATTRIBUTE = "_bgresults"
# So many watchers within so many seconds are not one for each process.
_MANY = 10
_SECONDS = 60.0


class _Record:
    """What is known of the watchers of one application."""

    def __init__(self) -> None:
        self.watcher: CeleryResultWatcher | None = None
        self.overrides: dict[str, Any] = {}
        self.made: deque[float] = deque(maxlen=_MANY)
        self.warned = False


def from_celery(app: Any, **overrides: Any) -> CeleryResultWatcher:
    """Return the watcher of a Celery application's results: the same one every time, until it is closed.

    Makes no connection, and reads no settings before the watcher is used. Any thread.

    Args:
        app: the application.
        overrides: arguments of :class:`~bgresults.ResultWatcher`, ``url`` too, that win over what the application
            says. The options in ``redis`` that are not None win one by one, and so do those in ``amqp`` that are not
            the default.

    Raises:
        TypeError: ``app`` is no Celery application; or as for ``ResultWatcher``.
        ValueError: an open watcher of this application was made with other overrides; or as for ``ResultWatcher``.
    """
    app = application(app)
    if isinstance(overrides.get("accept"), Iterable) and not isinstance(overrides["accept"], (str, bytes)):
        # It is looked at more than once, and compared with that of a later call.
        overrides["accept"] = tuple(overrides["accept"])
    record: _Record = vars(app).setdefault(_ATTRIBUTE, _Record())
    watcher = _open_one(app, record, overrides)
    if watcher is not None:
        return watcher
    fresh = separate_watcher(app, overrides)
    with leaf_lock():
        # Another thread may have come first.
        if record.watcher is None or record.watcher.closed:
            record.watcher, record.overrides = fresh, overrides
            record.made.append(time.monotonic())
    _warn_of_many(app, record)
    return _open_one(app, record, overrides) or fresh


def separate_watcher(app: Celery, overrides: dict[str, Any]) -> CeleryResultWatcher:
    """A new watcher of an application, besides the one that :func:`from_celery` gives everybody.

    Raises:
        TypeError, ValueError: as for :class:`~bgresults.ResultWatcher`.
    """
    # Refuses what makes no sense, here and not at the first use.
    somewhere = "memory://" if overrides.get("amqp", AMQPOptions()) != AMQPOptions() else "redis://localhost"
    ResultWatcher(**{"url": somewhere, **overrides})
    return CeleryResultWatcher(app, overrides)


def open_watcher(app: Celery) -> CeleryResultWatcher:
    """The watcher of an application that is open, whatever it was made with; else a new one, as the application is."""
    record: _Record | None = vars(app).get(_ATTRIBUTE)
    watcher = None if record is None else record.watcher
    return from_celery(app) if watcher is None or watcher.closed else watcher


def _open_one(app: Celery, record: _Record, overrides: dict[str, Any]) -> CeleryResultWatcher | None:
    with leaf_lock():
        watcher, made_with = record.watcher, record.overrides
    if watcher is None or watcher.closed:
        return None
    if overrides != made_with:
        raise ValueError(
            f"the watcher of Celery app {name_of(app)} was made with {_shown(made_with)} and is open; it cannot have "
            f"{_shown(overrides)} as well. Close it first, or make a ResultWatcher of your own"
        )
    return watcher


def _shown(overrides: dict[str, Any]) -> str:
    """Names alone: a value may be a URL with a password."""
    return f"overrides of {', '.join(sorted(overrides))}" if overrides else "no overrides"


def _warn_of_many(app: Celery, record: _Record) -> None:
    made = record.made
    if record.warned or len(made) < _MANY or made[-1] - made[0] > _SECONDS:
        return
    record.warned = True
    log_safely(
        _logger,
        logging.WARNING,
        "from_celery() has made %d watchers of Celery app %s within %.0f s: each one was closed again. Make one for "
        "each process and keep it open; a watcher for each request connects, and subscribes, for each request",
        _MANY,
        name_of(app),
        made[-1] - made[0],
        event="many_watchers",
    )
