"""A machine that works :class:`~bgresults.pending.PendingResults` as callers and a drain thread do, and keeps a model.

The model is a list of watches. What an operation gives back, and what is left afterwards, is compared with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bgresults import ResultFuture, pending
from bgresults.forking import leaf_lock
from bgresults.pending import FutureRef, PendingResults, reference
from tests.model.interruptions import in_between

__all__ = ["PendingMachine"]

IDS = st.sampled_from("abc")
#: An operation: the name of a method, and its arguments.
Operation = tuple[str, tuple[Any, ...]]


def _operations(**arguments: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[Operation]:
    return st.one_of([st.tuples(st.just(name), values) for name, values in arguments.items()])


_SOME = st.tuples(st.integers(0, 20))
_NOTHING = st.just(())
CALLERS = _operations(
    watch=st.tuples(st.lists(IDS, min_size=1, max_size=4).map(tuple), st.sampled_from([None, 1.0, 5.0]), st.booleans()),
    cancel=_SOME,
    undo=_SOME,
    drop=_SOME,
    sweep=_NOTHING,
)
DRAIN_THREAD = _operations(
    commands=_NOTHING,
    deliver=st.tuples(IDS),
    expire=st.tuples(st.sampled_from([0.5, 2.0])),
    purge=_NOTHING,
    released=_NOTHING,
    fail_all=_NOTHING,
)


@dataclass(eq=False)
class Watch:
    """One future: held by its caller or not; ``changing`` while it comes or goes, and may be found or not."""

    future: ResultFuture | None
    ref: FutureRef
    changing: bool = False

    @property
    def task_id(self) -> str:
        return self.ref.task_id

    def due(self, now: float) -> bool:
        return self.ref.deadline is not None and self.ref.deadline <= now


class PendingMachine(RuleBasedStateMachine):
    """See the module's text."""

    def __init__(self) -> None:
        super().__init__()
        # One that a few futures exceed.
        self._small_heap, pending._SMALL_HEAP = pending._SMALL_HEAP, 3
        self.pending = PendingResults()
        self.now = 0.0
        self.live: list[Watch] = []
        # Swept by a caller; the drain thread has not heard of them.
        self.swept: Counter[str] = Counter()
        # What the drain thread has not taken yet: what was watched, and what was taken back. And what it has the server
        # report.
        self.queue: list[tuple[list[FutureRef], list[str]]] = []
        self.consumed: set[str] = set()
        self.watched = 0
        self.ended: Counter[str] = Counter()

    def teardown(self) -> None:
        pending._SMALL_HEAP = self._small_heap

    # -- rules -------------------------------------------------------------------------------------------------------

    @rule(operation=CALLERS | DRAIN_THREAD)
    def do(self, operation: Operation) -> None:
        """An operation that nothing comes in between of."""
        self._perform(operation)

    @rule(operation=CALLERS, line=st.integers(1, 40), other=CALLERS | DRAIN_THREAD)
    def interrupt_caller(self, operation: Operation, line: int, other: Operation) -> None:
        """Another caller, or the drain thread, is faster."""
        with in_between(line, lambda: self._perform(other), _locks):
            self._perform(operation)

    @rule(operation=DRAIN_THREAD, line=st.integers(1, 40), other=CALLERS)
    def interrupt_drain_thread(self, operation: Operation, line: int, other: Operation) -> None:
        """A caller is faster than the drain thread."""
        with in_between(line, lambda: self._perform(other), _locks):
            self._perform(operation)

    @rule(some=st.integers(0, 20))
    def pin(self, some: int) -> None:
        """Somebody adds a callback."""
        watch = self._one(some)
        future = None if watch is None else watch.ref()
        if future is not None:
            self.pending.pin(future)

    @rule()
    def rest(self) -> None:
        """The drain thread takes all that there is: nothing is left over, and nothing was lost."""
        self.commands()
        self.released()
        self.expire(0.0)
        self.purge()
        self.pending.next_deadline()
        assert not self.pending.anything_to_purge()
        assert not self.pending.released
        assert not self.swept
        assert self.consumed == {watch.task_id for watch in self.live}
        assert self.watched == len(self.live) + self.ended.total()
        assert self.pending._pinned <= {watch.ref() for watch in self.live}
        scheduled = sum(len(task_ids) for _, _, task_ids in self.pending._deadlines)
        assert self.pending._scheduled == scheduled <= max(pending._SMALL_HEAP, 2 * len(self.live))

    @invariant()
    def agrees(self) -> None:
        """What is registered is what lives."""
        assert len(self.pending) == len(self.live)
        assert set(self.pending.ids()) == {watch.task_id for watch in self.live}
        for task_id in "abc":
            registered = self.pending._refs(task_id)
            assert sorted(map(id, registered)) == sorted(id(watch.ref) for watch in self._of(task_id))
        others = self.pending._others
        assert others.keys() <= self.pending._first.keys()
        assert all(others.values()), "an id without others has no list of them"
        assert self.pending._joined == sum(map(len, others.values()))
        deadlines = [watch.ref.deadline for watch in self.live if watch.ref.deadline is not None and not self.queue]
        earliest = self.pending.next_deadline()
        assert not deadlines or (earliest is not None and earliest <= min(deadlines))

    # -- what callers do ---------------------------------------------------------------------------------------------

    def watch(self, task_ids: tuple[str, ...], lifetime: float | None, pinned: bool) -> None:
        deadline = None if lifetime is None else self.now + lifetime
        watches = []
        for task_id in task_ids:
            future = ResultFuture(task_id, None)
            ref = reference(future, self.pending.dropped.append, deadline)  # type: ignore[arg-type]
            if pinned:
                self.pending.pin(future)
            watches.append(Watch(future, ref, changing=True))
            self.live.append(watches[-1])
            self.pending.add(ref)
        self.queue.append(([watch.ref for watch in watches], []))
        for watch in watches:
            watch.changing = False

    def cancel(self, some: int) -> None:
        self._leave(some, "cancelled")

    def undo(self, some: int) -> None:
        self._leave(some, "undone")

    def drop(self, some: int) -> None:
        watch = self._one(some)
        if watch is not None:
            watch.future = None

    def sweep(self) -> None:
        self._swept(self.pending.sweep)

    def _leave(self, some: int, end: str) -> None:
        watch = self._one(some)
        future = None if watch is None else watch.ref()
        if watch is None or future is None:
            return
        watch.changing = True
        if self.pending.forget(future, release=end == "cancelled"):
            self._end(watch, end)
            if end == "undone":
                # Heard of after the watch itself, which may be on its way too.
                self.queue.append(([], [watch.task_id]))
        else:
            # Whoever took it out may not be through with it.
            assert not self._registered(watch)

    # -- what the drain thread does ----------------------------------------------------------------------------------

    def commands(self) -> None:
        while self.queue:
            refs, undone = self.queue.pop(0)
            self.watched += len(refs)
            self.consumed.update(self.pending.admit(refs, 0.0))
            self._release(undone)

    def deliver(self, task_id: str) -> None:
        waiting = [watch for watch in self._of(task_id) if not watch.changing]
        self._take(self.pending.take(task_id), waiting, "resolved")
        self._release([task_id])

    def fail_all(self) -> None:
        for task_id in self.pending.ids():
            self.deliver(task_id)

    def expire(self, seconds: float) -> None:
        self.now += seconds
        unheard_of = {id(ref) for refs, _ in self.queue for ref in refs}
        due = [watch for watch in self.live if watch.due(self.now)]
        waiting = [watch for watch in due if not watch.changing and id(watch.ref) not in unheard_of]
        taken = self.pending.take_expired(self.now)
        assert all(ref.deadline is not None and ref.deadline <= self.now for ref in taken)
        self._take(taken, waiting, "expired")
        self._release([ref.task_id for ref in taken])

    def purge(self) -> None:
        swept = [ref.task_id for ref in self._swept(self.pending.purge)]
        assert Counter(swept) == self.swept
        self.swept.clear()
        self.ended["dropped"] += len(swept)
        self._release(swept)

    def released(self) -> None:
        released = self.pending.released
        self._release([released.popleft().task_id for _ in range(len(released))])

    def _take(self, taken: list[FutureRef], waiting: list[Watch], end: str) -> None:
        """These were taken out: all that waited, but for those that left meanwhile, and those that came."""
        found = {id(ref) for ref in taken}
        assert len(found) == len(taken)
        assert all(id(watch.ref) in found or watch not in self.live for watch in waiting)
        for watch in [watch for watch in self.live if id(watch.ref) in found]:
            found.discard(id(watch.ref))
            future = watch.ref()
            self._end(watch, "dropped" if future is None else end)
            if future is not None:
                self.pending.unpin(future)
        assert not found, "what had left before was taken out"

    # -- inside ------------------------------------------------------------------------------------------------------

    def _perform(self, operation: Operation) -> None:
        name, arguments = operation
        getattr(self, name)(*arguments)

    def _of(self, task_id: str) -> list[Watch]:
        return [watch for watch in self.live if watch.task_id == task_id]

    def _one(self, some: int) -> Watch | None:
        unchanging = [watch for watch in self.live if not watch.changing]
        return unchanging[some % len(unchanging)] if unchanging else None

    def _end(self, watch: Watch, end: str) -> None:
        self.live.remove(watch)
        self.ended[end] += 1

    def _registered(self, watch: Watch) -> bool:
        return any(ref is watch.ref for ref in self.pending._refs(watch.task_id))

    def _swept(self, sweep: Callable[[], Any]) -> Any:
        """Sweep: all that were dropped have left then, unless something else took them out meanwhile."""
        for watch in self.live:
            if watch.ref() is None:
                watch.changing = True
        result = sweep()
        # Not all that have left: what the drain thread has just taken out is its own to count.
        told = {id(ref) for ref in (*self.pending._swept, *(result or ()))}
        for watch in [watch for watch in self.live if id(watch.ref) in told]:
            self.live.remove(watch)
            self.swept[watch.task_id] += 1
        assert not any(watch.changing and watch.ref() is None and self._registered(watch) for watch in self.live)
        return result

    def _release(self, task_ids: Iterable[str]) -> None:
        """As the drain thread does: nobody may wait any more."""
        self.consumed.difference_update(task_id for task_id in task_ids if task_id not in self.pending)


def _locks() -> list[Any]:
    return [leaf_lock()]
