""":class:`PendingResults`: task id → the futures that wait for it, and until when.

Pure data: it does no I/O, calls nobody and resolves nothing. Futures are held weakly, so that dropping one ends its
watch, and pinned while a callback is all that waits.

The common case, the first future of an id, takes no lock: one ``dict.setdefault``. Everything that removes, and the
rare second future of an id, goes through the leaf lock; so a future that joins an id is either seen by the thread that
takes the id, or finds the id gone and starts it anew.

Deadlines belong to the drain thread alone.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from bgresults.forking import leaf_lock
from bgresults.futures import ResultFuture
from bgresults.lazy_future import LazyFuture

__all__ = ["FutureRef", "PendingResults", "reference"]

# Compacting pays only when there is something to win.
_SMALL_HEAP = 64


class FutureRef(weakref.ref["ResultFuture"]):
    """A weak reference that still knows, once its future is gone, which id it waited for."""

    __slots__ = ("deadline", "seen_at", "task_id")

    task_id: str
    deadline: float | None
    #: When the drain thread heard of it, on the clock of ``time.monotonic``; not there before.
    seen_at: float


def reference(
    future: ResultFuture, dropped: Callable[[weakref.ref[ResultFuture]], object], deadline: float | None
) -> FutureRef:
    """Refer to ``future``; ``dropped`` is called with the reference when the future is gone.

    A function, since a constructor in Python would be a third of the cost of a ``watch()``.
    """
    ref = FutureRef(future, dropped)
    ref.task_id = future.task_id
    ref.deadline = deadline
    return ref


class PendingResults:
    """The registry of one session."""

    def __init__(self) -> None:
        # The lock of the process this session belongs to, for the drain thread. Callers ask for it each time: one may
        # be in the middle of a call here when a signal handler forks, and go on in the child.
        self._lock = leaf_lock()
        # Counts the changes of what is registered under an id that was registered before.
        self._changes = 0
        self._first: dict[str, FutureRef] = {}
        # The other futures of the same ids, and how many there are.
        self._others: dict[str, list[FutureRef]] = {}
        self._joined = 0
        self._pinned: set[LazyFuture] = set()
        # References whose future is gone. Their weakref callback only appends here: it may run in the garbage
        # collector, in the middle of one of the methods below.
        self.dropped: deque[FutureRef] = deque()
        # References that were taken out, for the drain thread to ask for their ids no longer: those that nobody
        # referred to, and those whose owners cancelled or finished them. Written together with the registry, so that
        # an exception out of a signal handler leaves none behind that is subscribed for nobody.
        self._swept: deque[FutureRef] = deque()
        self.released: deque[FutureRef] = deque()
        # Each with the ids that were watched until then in one call, some of which may have left; and how many ids.
        self._deadlines: list[tuple[float, int, tuple[str, ...]]] = []
        self._scheduled = 0
        self._sequence = itertools.count()

    def __len__(self) -> int:
        """How many futures are registered. Any thread; exact when nobody else is at work."""
        return max(0, len(self._first) + self._joined)

    def __contains__(self, task_id: str) -> bool:
        """Whether an id is registered. Any thread."""
        return task_id in self._first

    def ids(self) -> list[str]:
        """The registered ids. Any thread."""
        with leaf_lock():
            return list(self._first)

    # -- any thread ------------------------------------------------------------------------------------------------

    def oldest_seen_at(self) -> float | None:
        """When the drain thread heard of the id that has been registered for longest. Any thread.

        None if there is none, or it has not heard of it yet.
        """
        while True:
            try:
                # A dict keeps the order in which its keys came.
                oldest = next(iter(self._first.values()), None)
            except RuntimeError:
                # Another thread has just registered one.
                continue
            return getattr(oldest, "seen_at", None)

    def references(self, most: int) -> list[FutureRef]:
        """One for each of the ids that have been registered for longest, these first. Any thread."""
        # In one step, since callers register without the lock; and a dict keeps the order in which its keys came.
        return list(self._first.values())[:most]

    def add(self, ref: FutureRef) -> None:
        """Register a future."""
        task_id = ref.task_id
        if self._first.setdefault(task_id, ref) is ref:
            return
        with leaf_lock():
            # Taken in the meantime? Then this one is the first again.
            while self._first.setdefault(task_id, ref) is not ref:
                # The calling thread may handle a signal after any call and, in Python 3.10, at any jump; its handler
                # may cancel the first one, or raise. After two questions that are answered with yes there is neither.
                if task_id in self._others and task_id in self._first:
                    self._others[task_id] += [ref]
                    self._joined += 1
                    self._changes += 1
                    return
                if task_id not in self._others and task_id in self._first:
                    self._others[task_id] = [ref]
                    self._joined += 1
                    self._changes += 1
                    return

    def pin(self, future: LazyFuture) -> None:
        """Hold ``future`` strongly until it leaves; one that holds registered ones, until it is let go of."""
        self._pinned.add(future)

    def forget(self, future: ResultFuture, *, release: bool = False, into: deque[FutureRef] | None = None) -> bool:
        """Take ``future`` out; False if it has left already.

        Its reference goes ``into`` that, or with ``release`` to where the drain thread finds it: both, or neither.
        """
        with leaf_lock():
            for ref in self._refs(future.task_id):
                if ref() is future:
                    self._pinned.discard(future)
                    return self._discard(ref, self.released if release else into)
            return False

    def sweep(self) -> None:
        """Take out the futures that nobody refers to any more; :meth:`purge` will tell the drain thread which."""
        while self.dropped:
            with leaf_lock():
                if not self.dropped:
                    # Another thread is sweeping too.
                    return
                ref = self.dropped[0]
                self._discard(ref, self._swept)
                # A signal handler of this thread may have swept as well.
                if self.dropped and self.dropped[0] is ref:
                    self.dropped.popleft()

    # -- drain thread ----------------------------------------------------------------------------------------------

    def purge(self) -> list[FutureRef]:
        """:meth:`sweep`, and return all that were swept since."""
        self.sweep()
        return [self._swept.popleft() for _ in range(len(self._swept))]

    def anything_to_purge(self) -> bool:
        """Whether :meth:`purge` has something to do."""
        return bool(self.dropped or self._swept)

    def take(self, task_id: str) -> list[FutureRef]:
        """Take an id out with all its futures; empty if nobody waits for it."""
        with self._lock:
            first = self._first.pop(task_id, None)
            if first is None:
                return []
            others = self._others.pop(task_id, None)
            if others is None:
                return [first]
            self._joined -= len(others)
            self._changes += 1
            return [first, *others]

    def unpin(self, future: LazyFuture) -> None:
        """Let go of a future that has left, once it has ended. Any thread."""
        self._pinned.discard(future)

    def futures(self, task_id: str) -> list[ResultFuture]:
        """The living futures of an id, which stay registered."""
        with self._lock:
            found = [ref() for ref in self._refs(task_id)]
        return [future for future in found if future is not None]

    def admit(self, refs: Sequence[FutureRef], now: float) -> list[str]:
        """The drain thread has heard at ``now`` of futures of one call: remember their deadline, which is the same.

        Returns the ids to ask for. A future may be gone by now: cancelled, dropped, taken back, or resolved together
        with an earlier one of its id.
        """
        registered = self._first
        for ref in refs:
            ref.seen_at = now
        task_ids = [ref.task_id for ref in refs if ref.task_id in registered]
        if task_ids:
            self._schedule(refs[0].deadline, task_ids)
        return task_ids

    def next_deadline(self) -> float | None:
        """The earliest deadline, on the clock of ``time.monotonic``; it may be that of a future that left.

        Asked in every turn, which is why the heap is compacted here: not only a new deadline may find that most of the
        old ones are of futures that left, but also nothing at all, after a burst.
        """
        if self._scheduled > max(_SMALL_HEAP, 2 * len(self)):
            self._compact()
        return self._deadlines[0][0] if self._deadlines else None

    def take_expired(self, now: float) -> list[FutureRef]:
        """Take out the futures whose deadline has come."""
        due: set[str] = set()
        while self._deadlines and self._deadlines[0][0] <= now:
            task_ids = heapq.heappop(self._deadlines)[2]
            self._scheduled -= len(task_ids)
            due.update(task_ids)
        expired: list[FutureRef] = []
        with self._lock:
            for task_id in due:
                late = [ref for ref in self._refs(task_id) if ref.deadline is not None and ref.deadline <= now]
                expired.extend(ref for ref in late if self._discard(ref))
        return expired

    # -- inside, under the lock ------------------------------------------------------------------------------------

    def _refs(self, task_id: str) -> list[FutureRef]:
        first = self._first.get(task_id)
        return [] if first is None else [first, *self._others.get(task_id, ())]

    def _discard(self, ref: FutureRef, out: deque[FutureRef] | None = None) -> bool:
        """Take one out, and put it into ``out``: both, or neither. False if it has left already."""
        task_id = ref.task_id
        told: deque[FutureRef] = deque() if out is None else out
        while True:
            changes = self._changes
            # Identity throughout: weak references are equal when their futures are.
            remaining = self._refs(task_id)
            kept = [other for other in remaining if other is not ref]
            others = kept[1:]
            if len(kept) == len(remaining):
                return False
            # A signal handler of this thread may have come after any of these calls and, in Python 3.10, at any jump.
            # After questions that are answered with yes there is neither.
            if not kept and changes == self._changes:
                self._changes += 1
                del self._first[task_id]
                told += (ref,)
                return True
            if others and changes == self._changes:
                self._changes += 1
                self._first[task_id] = kept[0]
                self._others[task_id] = others
                self._joined -= 1
                told += (ref,)
                return True
            if kept and not others and changes == self._changes:
                self._changes += 1
                self._first[task_id] = kept[0]
                del self._others[task_id]
                self._joined -= 1
                told += (ref,)
                return True

    def _compact(self) -> None:
        """Build the heap anew from what is registered: at least half of it belongs to futures that left."""
        with self._lock:
            registered = [*list(self._first.values()), *itertools.chain.from_iterable(list(self._others.values()))]
        by_deadline: dict[float | None, list[str]] = {}
        for ref in registered:
            by_deadline.setdefault(ref.deadline, []).append(ref.task_id)
        self._deadlines = []
        self._scheduled = 0
        for deadline, task_ids in by_deadline.items():
            self._schedule(deadline, task_ids)

    def _schedule(self, deadline: float | None, task_ids: Sequence[str]) -> None:
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, next(self._sequence), tuple(task_ids)))
            self._scheduled += len(task_ids)
