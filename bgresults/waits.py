"""Waits that somebody observes: from the call of ``watch()`` to the end of its future.

For metrics and traces. Nobody observes unless asked to, and a watcher without observers does nothing for them: its
references are plain ones. With observers, all references that one call registers share what was noted of that call.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from bgresults.futures import ResultFuture
from bgresults.pending import FutureRef
from bgresults.safe_logging import log_safely

__all__ = [
    "Observer",
    "Wait",
    "everywhere",
    "observe_everywhere",
    "observe_no_more",
    "tell",
    "tell_at_once",
    "waits_for",
]

_logger = logging.getLogger("bgresults")


class Observer(Protocol):
    """Told of waits. Its methods are called where results wait meanwhile: they take microseconds, and no lock for long.

    ``session`` is a :class:`~bgresults.session.Session`, which this module lies below of. Of one process: a forked
    child has sessions of its own.
    """

    def started(self, session: Any) -> None:
        """The drain thread of a session begins. Called on it, or by whoever has it observed later."""

    def begun(self, session: Any) -> object:
        """Futures are about to be registered: what to note of it. In the thread of the caller, once for each call."""
        ...

    def ended(
        self,
        note: Any,
        wait: Wait,
        ended_at: float,
        outcome: str,
        error: BaseException | None,
        raw: Mapping[str, Any] | None,
    ) -> None:
        """One of them has ended. On the drain thread, or in the thread of a caller.

        Args:
            note: what :meth:`begun` returned.
            wait: which one.
            ended_at: on the clock of ``time.monotonic``.
            outcome: ``resolved``, ``failed``, ``cancelled``, ``dropped`` or ``expired``, as in
                :class:`~bgresults.WatcherStats`; or ``refused``, of a future that had failed when it was handed out.
            error: what the future ended with, if that is an exception.
            raw: the final state as it was decoded, if it ended with one.
        """


class Wait(FutureRef):
    """A reference that knows since when its future is waited for, and who wants to know of its end."""

    __slots__ = ("began_at", "notes")

    #: On the clock of ``time.monotonic``.
    began_at: float
    notes: tuple[tuple[Observer, object], ...]


def waits_for(
    futures: Iterable[ResultFuture],
    dropped: Callable[[weakref.ref[ResultFuture]], object],
    deadline: float | None,
    session: Any,
) -> list[FutureRef]:
    """Refer to new futures as :func:`~bgresults.pending.reference` does, on behalf of the session's observers."""
    notes = tuple((observer, observer.begun(session)) for observer in session.observers)
    began_at = time.monotonic()
    waits: list[FutureRef] = []
    for future in futures:
        wait = Wait(future, dropped)
        wait.task_id = future.task_id
        wait.deadline = deadline
        wait.began_at = began_at
        wait.notes = notes
        waits.append(wait)
    return waits


def tell(
    ref: FutureRef, outcome: str, error: BaseException | None = None, raw: Mapping[str, Any] | None = None
) -> None:
    """Tell whoever observes this wait that it has ended; that is nobody if the reference is a plain one."""
    if type(ref) is not Wait:
        return
    now = time.monotonic()
    for observer, note in ref.notes:
        try:
            observer.ended(note, ref, now, outcome, error, raw)
        except Exception as failure:  # noqa: BLE001 - whoever watches the waiting must not disturb it
            log_safely(_logger, logging.ERROR, "an observer of waits failed", error=failure, event="telemetry_failed")


def tell_at_once(session: Any, futures: list[ResultFuture], outcome: str) -> None:
    """Tell the session's observers of futures that had ended when they were handed out: nobody waited for them."""
    if session.observers:
        for wait in waits_for(futures, _nothing, None, session):
            future = wait()
            assert future is not None
            tell(wait, outcome, future._exception, future._raw)


def _nothing(_ref: weakref.ref[ResultFuture]) -> None:
    """Nobody has to hear that it is gone."""


# -- watchers that are made later --------------------------------------------------------------------------------------

_everywhere: tuple[Observer, ...] = ()


def everywhere() -> tuple[Observer, ...]:
    """Who observes every watcher that is made from now on."""
    return _everywhere


def observe_everywhere(observer: Observer) -> None:
    """Have it observe every watcher that is made from now on."""
    global _everywhere
    _everywhere = (*_everywhere, observer)


def observe_no_more(observer: Observer) -> None:
    """The reverse. Idempotent."""
    global _everywhere
    _everywhere = tuple(other for other in _everywhere if other is not observer)
