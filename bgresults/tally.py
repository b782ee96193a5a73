""":class:`Tally`: what all watchers of this process have counted, by their names; what metrics are made of.

A counter of a metric must never fall, but sessions come and go: a watcher is closed, or its thread dies and the next
``watch()`` starts another one. So what a session has counted is kept when it is over.

A forked child starts at zero.
"""

from __future__ import annotations

import os
import time
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bgresults import forking
from bgresults.session import Session, State
from bgresults.waits import Ending, WatchCall

__all__ = ["BOUNDARIES", "COUNTED", "OUTCOMES", "STATES", "Tally", "Totals", "Waits"]

#: Seconds. A result is waited for as long as a task takes, which may be anything; the last one is Celery's lifetime.
BOUNDARIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400)

#: How a wait ends.
OUTCOMES = ("resolved", "failed", "cancelled", "dropped", "expired", "refused")
_COUNTED_OUTCOMES = tuple(outcome for outcome in OUTCOMES if outcome != "refused")

#: Every state of a drain thread.
STATES: tuple[str, ...] = tuple(state.value for state in State)

#: The fields of :class:`~bgresults.WatcherStats` that only grow, but for the outcomes; and what they count.
COUNTED = {
    "watched": "Futures that watch() handed out as pending, or with a result that was here already",
    "reconnects": "Connections made after one was lost",
    "recovered": "Results found by reading the stored ones after a connect",
    "late": "States that came for an id that nobody watches, and that are not kept",
    "duplicate": "States that came a second time",
    "redelivered": "Replies that the broker sent again after a lost connection",
    "undecodable": "Messages that could not be read as a task's state",
    "buffered": "Replies that came for an id that nobody watched yet, and were kept",
    "evicted": "Replies among those that were given up, unseen, for want of room or because of their age",
    "queues_lost": "Reply queues that turned out to have been deleted, with what was in them",
    "callback_errors": "Exceptions that callbacks raised",
}

# Sessions that may be over without being forgotten.
_MANY = 20


class Waits:
    """How long waits with one outcome took.

    Attributes:
        counts: how many were no longer than each boundary, and longer than the one before; the last one has no bound.
        seconds: the sum of all.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.seconds = 0.0

    def add(self, other: Waits) -> None:
        """Add what another one counted."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds


class _Book:
    """What one session has counted."""

    __slots__ = ("over", "session", "waits")

    def __init__(self, session: Session, buckets: int) -> None:
        self.session = session
        self.waits = {outcome: Waits(buckets) for outcome in OUTCOMES}
        # Whether it was over when it was looked at: it may be that somebody was counting then.
        self.over = False


@dataclass
class Totals:
    """Of all watchers of one name in this process.

    Attributes:
        counted: the fields of :class:`~bgresults.WatcherStats` in :data:`COUNTED`, added up.
        outcomes: how many waits have ended how.
        waits: how long they took, of those that began while they were observed; of the outcomes that there were.
        pending, subscribed: futures that wait now; ids that the backend is asked to report now.
        states: state of the drain thread → how many sessions are in it.
        connected: how many sessions have a connection.
        threads: how many drain threads run.
        oldest_pending: seconds that the oldest pending future has waited; 0 if there is none.
        last_message: when states came last, as Unix time in seconds; 0 if none did.
    """

    counted: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    waits: dict[str, Waits] = field(default_factory=dict)
    pending: int = 0
    subscribed: int = 0
    states: Counter[str] = field(default_factory=Counter)
    connected: int = 0
    threads: int = 0
    oldest_pending: float = 0.0
    last_message: float = 0.0


class Tally:
    """Observes watchers, see :mod:`bgresults.waits`, and adds up what they count. Any thread may ask.

    Args:
        boundaries: of the times that are told apart, in seconds, in ascending order.
        on_start: called when there is something to tell of in this process: on a drain thread, as it begins, or in a
            thread that watches. It takes microseconds.
    """

    def __init__(self, boundaries: Sequence[float] = BOUNDARIES, on_start: Callable[[], object] | None = None) -> None:
        self.boundaries = tuple(boundaries)
        self._on_start = on_start
        self._forget_all()
        forking.register(self)

    def totals(self) -> dict[str, Totals]:
        """A snapshot: the name of a watcher → what there is to say. One that was not used yet is not among them."""
        self._here()
        with forking.leaf_lock():
            for key, book in list(self._books.items()):
                if book.over:
                    self._over.add(book.session)
                    self._add(self._kept.setdefault(book.session.settings.name, Totals()), book)
                    del self._books[key]
            found = {name: self._copy(kept) for name, kept in self._kept.items()}
            books = list(self._books.values())
        for book in books:
            totals = found.setdefault(book.session.settings.name, Totals())
            # Asked first: what is counted after that is found the next time.
            book.over = _is_over(book.session)
            self._add(totals, book)
            _add_now(totals, book.session)
        for name, totals in found.items():
            # Futures that are taken back are counted, and a moment later they are not. For whoever reads a counter of
            # a metric, one that falls has started anew.
            self._watched[name] = totals.counted["watched"] = max(self._watched[name], totals.counted["watched"])
        return found

    # -- Observer ----------------------------------------------------------------------------------------------------

    def started(self, session: Session) -> None:
        """From now on it is among the totals."""
        self.begun(session, 0)

    def begun(self, session: Session, count: int) -> _Book:
        """What waits are noted in, however many."""
        self._here()
        book = self._books.get(id(session))
        if book is not None and book.session is session:
            return book
        book = _Book(session, len(self.boundaries) + 1)
        with forking.leaf_lock():
            if session in self._over:
                # Somebody watches with a watcher that is closed, and will be told so. It has been counted.
                return book
            book = self._books.setdefault(id(session), book)
        if len(self._books) > _MANY:
            # Perhaps nobody ever asks: those that are over must not stay for ever.
            self.totals()
        if self._on_start is not None:
            self._on_start()
        return book

    def ended(self, note: _Book, call: WatchCall, ended_at: float, endings: Sequence[Ending]) -> None:
        """Note how long they took: all the same, since they began together and are told of together."""
        seconds = ended_at - call.began_at
        bucket = bisect_left(self.boundaries, seconds)
        outcomes = [outcome for _, outcome, _, _ in endings]
        # Callers note what is at hand or refused, while the drain thread notes the rest.
        with forking.leaf_lock():
            for outcome in set(outcomes):
                count = outcomes.count(outcome)
                waits = note.waits[outcome]
                waits.counts[bucket] += count
                waits.seconds += count * seconds

    # -- inside ------------------------------------------------------------------------------------------------------

    def _forget_all(self) -> None:
        # By identity: a session has no equal. Each book keeps its session, so no other one can have that identity.
        self._books: dict[int, _Book] = {}
        # What those have counted that are over; and those, for as long as somebody has them.
        self._kept: dict[str, Totals] = {}
        self._over: weakref.WeakSet[Session] = weakref.WeakSet()
        self._watched: Counter[str] = Counter()
        self._pid = os.getpid()

    def _here(self) -> None:
        """A C-level fork runs no hook."""
        if self._pid != os.getpid():
            forking.generation()
            self._after_fork_in_child()

    def _after_fork_in_child(self) -> None:
        if self._pid != os.getpid():
            self._forget_all()

    def _copy(self, kept: Totals) -> Totals:
        copy = Totals(Counter(kept.counted), Counter(kept.outcomes))
        for outcome, waits in kept.waits.items():
            self._waits_of(copy, outcome).add(waits)
        copy.last_message = kept.last_message
        return copy

    def _add(self, totals: Totals, book: _Book) -> None:
        """Add what a session has counted until now."""
        stats = book.session.stats()
        for name in COUNTED:
            totals.counted[name] += getattr(stats, name)
        for outcome in _COUNTED_OUTCOMES:
            totals.outcomes[outcome] += getattr(stats, outcome)
        totals.outcomes["refused"] += sum(book.waits["refused"].counts)
        for outcome, waits in book.waits.items():
            if any(waits.counts):
                self._waits_of(totals, outcome).add(waits)
        totals.last_message = max(totals.last_message, _unix_time(book.session.heard_at))

    def _waits_of(self, totals: Totals, outcome: str) -> Waits:
        return totals.waits.setdefault(outcome, Waits(len(self.boundaries) + 1))


def _is_over(session: Session) -> bool:
    """Whether nothing will be counted any more: it was ended, or its watcher is gone and there is no thread."""
    # It is over a moment before its last waits are told of, and closed after that.
    told = session.over and session.state in (State.CLOSED, State.FAILED)
    return told or (session.thread is None and session.owner() is None)


def _add_now(totals: Totals, session: Session) -> None:
    """Add what is true of a session now."""
    stats = session.stats()
    totals.pending += stats.pending
    totals.subscribed += stats.subscribed
    totals.states[stats.state] += 1
    totals.connected += stats.connected
    totals.threads += stats.thread_alive
    oldest_seen_at = session.pending.oldest_seen_at()
    if oldest_seen_at is not None:
        totals.oldest_pending = max(totals.oldest_pending, time.monotonic() - oldest_seen_at)


def _unix_time(at: float | None) -> float:
    return 0.0 if at is None else time.time() - (time.monotonic() - at)
