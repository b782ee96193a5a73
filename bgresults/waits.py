"""Waits that somebody observes: from the call of ``watch()`` to the end of its future.

For metrics and traces. Nobody observes unless asked to, and a watcher without observers does nothing for them: its
references are plain ones. With observers, all references that one call registers share what was noted of that call.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from bgresults.forking import leaf_lock
from bgresults.futures import ResultFuture
from bgresults.pending import FutureRef
from bgresults.safe_logging import log_safely

__all__ = [
    "Ending",
    "Observer",
    "Wait",
    "WatchCall",
    "everywhere",
    "observe_everywhere",
    "observe_no_more",
    "tell",
    "tell_at_once",
    "tell_of",
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

    def begun(self, session: Any, count: int) -> object:
        """So many futures are about to be registered: what to note of it. In the thread of the caller, once a call."""
        ...

    def ended(self, note: Any, call: WatchCall, ended_at: float, endings: Sequence[Ending]) -> None:
        """Some of them have ended. On the drain thread, or in the thread of a caller.

        Args:
            note: what :meth:`begun` returned.
            call: the call that registered them.
            ended_at: on the clock of ``time.monotonic``. Those that end together, because their states were read
                together, are told together, when the last of them has ended: some milliseconds late.
            endings: which ones, and how; in that order.
        """


class WatchCall:
    """What is noted of one call that registers futures."""

    __slots__ = ("began_at", "notes")

    def __init__(self, session: Any, count: int) -> None:
        #: What each observer has noted.
        self.notes = tuple((observer, observer.begun(session, count)) for observer in session.observers)
        #: On the clock of ``time.monotonic``.
        self.began_at = time.monotonic()


class Wait(FutureRef):
    """A reference that knows which call has registered it, and so who wants to know of its end."""

    __slots__ = ("call",)

    call: WatchCall


#: Which wait; its outcome: ``resolved``, ``failed``, ``cancelled``, ``dropped`` or ``expired``, as in
#: :class:`~bgresults.WatcherStats`, or ``refused``, of a future that had failed when it was handed out; what the future
#: ended with, if that is an exception; and the final state as it was decoded, if it ended with one.
Ending = tuple[Wait, str, BaseException | None, Mapping[str, Any] | None]


def waits_for(
    futures: Sequence[ResultFuture],
    dropped: Callable[[weakref.ref[ResultFuture]], object],
    deadline: float | None,
    session: Any,
) -> list[FutureRef]:
    """Refer to new futures as :func:`~bgresults.pending.reference` does, on behalf of the session's observers."""
    call = WatchCall(session, len(futures))
    return [_wait(future, dropped, deadline, call) for future in futures]


def _wait(
    future: ResultFuture,
    dropped: Callable[[weakref.ref[ResultFuture]], object],
    deadline: float | None,
    call: WatchCall,
) -> Wait:
    wait = Wait(future, dropped)
    wait.task_id = future.task_id
    wait.deadline = deadline
    wait.call = call
    return wait


def tell(endings: Sequence[Ending]) -> None:
    """Tell whoever observes these waits that they have ended: once for those of one call that follow each other."""
    now = time.monotonic()
    first = 0
    call = endings[0][0].call
    for number, ending in enumerate(endings):
        if ending[0].call is not call:
            _tell_of_call(call, now, endings[first:number])
            first, call = number, ending[0].call
    _tell_of_call(call, now, endings[first:] if first else endings)


def _tell_of_call(call: WatchCall, ended_at: float, endings: Sequence[Ending]) -> None:
    for observer, note in call.notes:
        try:
            observer.ended(note, call, ended_at, endings)
        except Exception as failure:  # noqa: BLE001 - whoever watches the waiting must not disturb it
            log_safely(_logger, logging.ERROR, "an observer of waits failed", error=failure, event="telemetry_failed")


def tell_of(refs: Iterable[FutureRef], outcome: str) -> None:
    """:func:`tell` of those among these references that somebody observes, all of which have ended like that."""
    endings: list[Ending] = [(ref, outcome, None, None) for ref in refs if type(ref) is Wait]
    if endings:
        tell(endings)


def tell_at_once(session: Any, futures: list[ResultFuture], outcome: str) -> None:
    """Tell the session's observers of futures that had ended when they were handed out: nobody waited for them."""
    if session.observers and futures:
        call = WatchCall(session, len(futures))
        endings: list[Ending] = []
        for future in futures:
            wait = _wait(future, _nothing, None, call)
            endings.append((wait, outcome, future._exception, future._raw))
        tell(endings)


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
    with leaf_lock():
        _everywhere = (*_everywhere, observer)


def observe_no_more(observer: Observer) -> None:
    """The reverse. Idempotent."""
    global _everywhere
    with leaf_lock():
        _everywhere = tuple(other for other in _everywhere if other is not observer)
