"""Switching the back-off off: in a test nobody wants to wait for seconds until a connection is made again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from bgresults.forking import leaf_lock, registered
from bgresults.retry import limit_waits
from bgresults.session_holder import SessionHolder

__all__ = ["is_backoff_active", "no_backoff", "set_backoff_active"]

# Seconds between two attempts all the same: a server that refuses is asked a hundred times a second, and not without
# a pause.
_PAUSE = 0.01

_active = True
# How many contexts want none at the moment.
_without = 0


def is_backoff_active() -> bool:
    """Whether watchers of this process wait between two attempts to connect as their ``RetryPolicy`` says."""
    return _active and not _without


def set_backoff_active(active: bool) -> None:
    """Switch the back-off of all watchers of this process off, or on again: as a whole test run may want it.

    What it means, and for whom, is what :func:`no_backoff` says.

    Raises:
        TypeError: ``active`` is no bool.
    """
    global _active
    if not isinstance(active, bool):
        raise TypeError(f"active must be a bool, not {type(active).__name__}")
    with leaf_lock():
        _active = active
        _apply()
    _wake_all()


@contextlib.contextmanager
def no_backoff() -> Iterator[None]:
    """Within it, a connection that was lost is looked for every ten milliseconds, whatever a ``RetryPolicy`` says.

    For all watchers of this process, also for those that wait already, and for consumers that are used alone. A child
    that is forked inside of it has none either, for as long as it lives. ``give_up_after`` and the timeouts of a
    connection stay as they are. Contexts may be nested, and entered by several threads: the last one that is left
    counts. Any thread.
    """
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(step: int) -> None:
    global _without
    with leaf_lock():
        _without += step
        _apply()
    _wake_all()


def _apply() -> None:
    limit_waits(math.inf if _active and not _without else _PAUSE)


def _wake_all() -> None:
    """Have those look at their clock that wait at this moment."""
    for item in registered():
        if isinstance(item, SessionHolder):
            item._session.wake()
