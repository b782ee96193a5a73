""":class:`GatheredFuture`: one future for the values of many.

It holds its members, and they know it weakly, so that dropping it drops them: nobody would be left subscribed. Once
somebody waits for it through a callback alone, their watcher pins it, and it them, until it ends.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from bgresults.errors import BgResultsError
from bgresults.futures import ResultFuture
from bgresults.lazy_future import LazyFuture
from bgresults.meta import READY_STATES
from bgresults.ownership import FutureOwner
from bgresults.task_exceptions import exception_from

__all__ = ["GatheredFuture", "own_exception"]


class GatheredFuture(LazyFuture):
    """The values of several futures, in the order that ``assemble`` gives them.

    It ends when all members have, or as soon as one has failed, with an exception like that one's, or was cancelled, as
    cancelled. Cancelling it leaves the members alone.
    """

    __slots__ = ()

    def __init__(self, members: Sequence[ResultFuture], assemble: Callable[[], Any]) -> None:
        gathering = _Gathering(members, assemble)
        super().__init__(gathering)
        gathering.watch_over(self)

    def result(self, timeout: float | None = None) -> Any:
        """Return the values; wait for them at most ``timeout`` seconds.

        Raises:
            As :meth:`bgresults.ResultFuture.result`, for the first member that failed.
        """
        try:
            exception = self._outcome(timeout)
            if exception is not None:
                raise exception
            return self._result
        finally:
            # As in ResultFuture.result().
            del self
            exception = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what :meth:`result` would raise, or None; waits and raises as that does otherwise."""
        return self._outcome(timeout)

    def __repr__(self) -> str:
        # The standard library's takes the condition, and this is asked for in messages, under any lock.
        return f"<{type(self).__name__} {self._state.partition('_')[0].lower()}>"

    def _refuse_to_block(self) -> None:
        owner = self._owner
        if isinstance(owner, _Gathering):
            owner.refuse_to_block()


class _Gathering:
    """The owner of one: holds the members, and knows which of them are missing."""

    def __init__(self, members: Sequence[ResultFuture], assemble: Callable[[], Any]) -> None:
        self._members = list(members)
        self._assemble = assemble
        # Every step of a set is atomic; that two threads find it empty is harmless, settling is a claim.
        self._missing = set(range(len(self._members)))
        self._future: weakref.ref[GatheredFuture] | None = None
        # Who keeps it alive, once a callback waits for it.
        self._keeper: FutureOwner | None = None

    def watch_over(self, future: GatheredFuture) -> None:
        self._future = weakref.ref(future)
        myself: weakref.ref[_Gathering] = weakref.ref(self)
        for number, member in enumerate(self._members):
            member._append_callback(_Reporter(myself, number), pin=False)
        if not self._members:
            self._finish()

    def ended(self, number: int, member: Future[Any]) -> None:
        """A member has ended: on the drain thread, or in the thread that cancelled it."""
        self._missing.discard(number)
        if member.cancelled() or member.exception(0) is not None or not self._missing:
            self._finish(member)

    def _finish(self, last: Future[Any] | None = None) -> None:
        future = None if self._future is None else self._future()
        if future is None:
            return
        if last is not None and last.cancelled():
            future.cancel()
            return
        error = None if last is None else own_exception(last)
        callbacks = future._settle(None if error is not None else self._assemble(), error)
        # The others may take their time: they are not to be kept alive for what has ended.
        self._released(future)
        _run_all(callbacks or [], future)

    def refuse_to_block(self) -> None:
        for member in self._members:
            if not member.done():
                member._refuse_to_block()

    # -- FutureOwner -------------------------------------------------------------------------------------------------

    def _forget(self, future: Any) -> None:
        """Nothing to take it out of."""

    def _released(self, future: Any) -> None:
        """Its members are watched for their own sake."""
        if self._keeper is not None:
            self._keeper._released(future)

    def _pin(self, future: Any) -> None:
        if self._keeper is None:
            owners = [self._members[number]._owner for number in list(self._missing)]
            # They have the same one, unless they have ended.
            self._keeper = next((owner for owner in owners if owner is not None), None)
        if self._keeper is not None:
            self._keeper._pin(future)

    def _on_drain_thread(self) -> bool:
        return any(owner._on_drain_thread() for member in self._members if (owner := member._owner) is not None)


class _Reporter:
    """Tells a gathering, if there still is one, that a member has ended."""

    __slots__ = ("_gathering", "_number")

    def __init__(self, gathering: weakref.ref[_Gathering], number: int) -> None:
        self._gathering = gathering
        self._number = number

    def __call__(self, member: Future[Any]) -> None:
        gathering = self._gathering()
        if gathering is not None:
            gathering.ended(self._number, member)


def own_exception(future: Future[Any]) -> BaseException | None:
    """What a finished future raises, as an instance of one's own: two threads would grow each other's traceback."""
    if future.cancelled():
        return CancelledError()
    error = future.exception(0)
    if error is None:
        return None
    raw = future._raw if isinstance(future, ResultFuture) else None
    if raw is not None and raw["status"] in READY_STATES and isinstance(raw["result"], Mapping):
        return exception_from(raw)
    if isinstance(error, BgResultsError):
        return type(error)(*error.args)
    return error


def _run_all(callbacks: Sequence[Callable[[Any], object]], future: GatheredFuture) -> None:
    """Run callbacks in a callback: none keeps the others from running, and a forked child stops."""
    pid = os.getpid()
    first: BaseException | None = None
    for callback in callbacks:
        try:
            future._call(callback)
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like; the first one is raised below
            first = first or error
        if os.getpid() != pid:
            break
    if first is not None:
        raise first
