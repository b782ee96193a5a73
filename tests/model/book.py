"""The model of a watcher: what was watched, what has happened since, and so how each future may have ended."""

from __future__ import annotations

import weakref
from collections import Counter
from concurrent.futures import CancelledError

from bgresults import (
    BackendUnavailableError,
    ForkedError,
    ResultDecodeError,
    ResultFuture,
    WatcherClosedError,
    WatcherStats,
    WatchExpiredError,
)
from tests.model.scripted import GARBAGE, Body

__all__ = ["BY_HAND", "CANCELLED", "CLOSED", "FORKED", "UNAVAILABLE", "Book", "Entry", "end_of", "end_told_by"]

CANCELLED, BY_HAND, DROPPED, EXPIRED = "cancelled", "by hand", "dropped", "expired"
CLOSED, UNAVAILABLE, BROKEN, FORKED = "closed", "unavailable", "broken", "forked"
_ERRORS: dict[type[BaseException], str] = {
    BackendUnavailableError: UNAVAILABLE,
    ForkedError: FORKED,
    ResultDecodeError: BROKEN,
    WatcherClosedError: CLOSED,
    WatchExpiredError: EXPIRED,
}
# Where each end is counted; any other one is a result.
_COUNTED = {
    CANCELLED: "cancelled",
    BY_HAND: "cancelled",
    DROPPED: "dropped",
    EXPIRED: "expired",
    CLOSED: "failed",
    UNAVAILABLE: "failed",
    BROKEN: "failed",
}
_CATEGORIES = ("resolved", "failed", "cancelled", "dropped", "expired")


def end_of(future: ResultFuture) -> str:
    """How a future ended, in the words of the book."""
    try:
        error = future.exception(0)
    except CancelledError:
        return CANCELLED
    if error is None:
        return str(future.result(0))
    return _ERRORS.get(type(error)) or f"failed {error}"


def end_told_by(body: Body) -> str:
    """How a future ends that is told this final state."""
    if body is GARBAGE:
        return BROKEN
    return str(body["result"]) if body["status"] == "SUCCESS" else f"failed {body['result']['exc_message'][0]}"


class Entry:
    """One future that was handed out.

    Attributes:
        held: by the caller; None if it was dropped.
        since: what had happened before it was asked for.
        pinned: it is kept alive by its watcher, since somebody is told of its end.
        end: in the book's words; None while it is pending.
    """

    def __init__(self, future: ResultFuture, deadline: float | None, since: int) -> None:
        self.held: ResultFuture | None = future
        self.task_id = future.task_id
        self.deadline = deadline
        self.since = since
        self.pinned = False
        #: How many steps are at it now.
        self.busy = 0
        #: What its owner did to end it.
        self.own: set[str] = set()
        self.end: str | None = None
        #: Whether there was a reason for that, when it was first seen.
        self.explained = False
        self._weakly = weakref.ref(future)

    def future(self) -> ResultFuture | None:
        """It, if it is still there."""
        return self.held or self._weakly()

    def ended(self) -> None:
        """Its callback is called."""
        future = self.future()
        assert future is not None
        assert self.end in (None, end_of(future)), f"it ended twice: {self.end}, {end_of(future)}"
        self.end = end_of(future)


class Book:
    """Of one session."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        #: What the futures of an id were told, and so how they may have ended.
        self.history: list[tuple[str, str]] = []
        #: What may end any future, for the time being.
        self.always: set[str] = set()
        self.callback_errors = 0
        # Counted somewhere, or not at all; nobody can say.
        self._uncertain = 0
        self._watched = 0
        self._refused = 0
        self._ends: Counter[str] = Counter()

    def live(self, task_id: str | None = None) -> list[Entry]:
        """Those that are pending, as far as is known."""
        return [entry for entry in self.entries if entry.end is None and task_id in (None, entry.task_id)]

    def enter(self, future: ResultFuture, deadline: float | None, since: int) -> Entry:
        """A future was handed out."""
        entry = Entry(future, deadline, since)
        self.entries.append(entry)
        return entry

    def refused(self, entry: Entry, *, certainly: bool) -> None:
        """It had failed when it was handed out. If that was certain it was never watched."""
        entry.end = UNAVAILABLE
        self.entries.remove(entry)
        if not certainly:
            self._refused += 1

    def not_handed_out(self, count: int) -> None:
        """So many were registered for a call that raised; they may have been counted."""
        self._refused += count

    def dropped(self, entry: Entry, *, certainly: bool) -> None:
        """Nobody refers to it any more; or the drain thread does, which may be about to end it."""
        entry.end = DROPPED
        self.entries.remove(entry)
        self._watched += 1
        if certainly:
            self._ends["dropped"] += 1
        else:
            self._uncertain += 1

    def look(self, now: float) -> None:
        """Write down what has ended, and compare what was written down before.

        Raises:
            AssertionError: something ended that nothing has ended, or otherwise, or twice.
        """
        for entry in list(self.entries):
            future = entry.future()
            if future is None:
                assert entry.end is not None, f"the future of {entry.task_id} is gone, and was to be kept"
            elif future.done():
                end = end_of(future)
                assert entry.end in (None, end), f"{entry.task_id} ended twice: {entry.end}, then {end}"
                entry.end = end
            else:
                assert entry.end is None, f"{entry.task_id} is pending, and was {entry.end}"
            if entry.end is not None and not entry.explained:
                assert entry.end in self._reasons(entry, now), f"{entry.task_id} ended for no reason: {entry.end}"
                entry.explained = True
            if future is None:
                # Nothing can be learnt of it any more.
                self.entries.remove(entry)
                self._watched += 1
                self._ends[self._category(entry)] += 1

    def _reasons(self, entry: Entry, now: float) -> set[str]:
        ends = {end for task_id, end in self.history[entry.since :] if task_id == entry.task_id}
        if entry.deadline is not None and entry.deadline <= now:
            ends.add(EXPIRED)
        return ends | entry.own | self.always

    def compare(self, stats: WatcherStats) -> None:
        """Compare with the counters of a session that is at rest.

        Raises:
            AssertionError: they do not add up, or not to this.
        """
        counted = {category: getattr(stats, category) for category in _CATEGORIES}
        ended = self._ends + Counter(self._category(entry) for entry in self.entries if entry.end is not None)
        assert stats.pending == len(self.live())
        assert stats.watched == stats.pending + sum(counted.values()), f"the counters do not add up: {stats}"
        watched = self._watched + len(self.entries)
        assert watched <= stats.watched <= watched + self._refused
        differences = {category: counted[category] - ended[category] for category in _CATEGORIES}
        assert all(difference >= 0 for difference in differences.values()), f"counted {counted}, not {ended}"
        assert sum(differences.values()) == self._uncertain + stats.watched - watched
        assert stats.callback_errors == self.callback_errors

    @staticmethod
    def _category(entry: Entry) -> str:
        assert entry.end is not None
        return _COUNTED.get(entry.end) or ("failed" if entry.end.startswith("failed ") else "resolved")
