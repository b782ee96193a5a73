"""The registry of futures: nobody is lost or left behind, whatever order the threads come in."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bgresults import ResultFuture
from bgresults.forking import leaf_lock
from bgresults.pending import FutureRef, PendingResults, reference
from tests.support.calls import Caller


def add(pending: PendingResults, task_id: str, deadline: float | None = None) -> tuple[ResultFuture, FutureRef]:
    future = ResultFuture(task_id, None)
    ref = reference(future, pending.dropped.append, deadline)  # type: ignore[arg-type]
    pending.add(ref)
    return future, ref


@pytest.fixture
def pending() -> PendingResults:
    return PendingResults()


class TestOneThread:
    def test_take(self, pending: PendingResults) -> None:
        future, ref = add(pending, "a")
        assert (len(pending), "a" in pending, pending.ids()) == (1, True, ["a"])
        assert pending.take("a") == [ref]
        assert pending.take("a") == []
        assert (len(pending), "a" in pending) == (0, False)
        assert ref() is future

    def test_several_of_one_id(self, pending: PendingResults) -> None:
        made = [add(pending, "a") for _ in range(3)]
        assert (len(pending), pending.ids()) == (3, ["a"])
        assert pending.futures("a") == [future for future, _ in made]
        assert pending.take("a") == [ref for _, ref in made]
        assert len(pending) == 0

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_forget_one_of_several(self, pending: PendingResults, place: int) -> None:
        futures = [add(pending, "a")[0] for _ in range(3)]
        gone = futures.pop(place)
        assert pending.forget(gone) is True
        assert pending.forget(gone) is False
        assert (len(pending), pending.futures("a")) == (2, futures)
        for future in futures:
            assert pending.forget(future)
        assert (len(pending), "a" in pending) == (0, False)

    def test_a_dropped_one_is_purged(self, pending: PendingResults) -> None:
        kept, _ = add(pending, "a")
        dropped, _ = add(pending, "a")
        other, _ = add(pending, "b")
        del dropped, other
        assert [ref.task_id for ref in pending.purge()] == ["a", "b"]
        assert pending.purge() == []
        assert (len(pending), pending.futures("a")) == (1, [kept])

    def test_a_dropped_one_that_was_taken_is_not_purged(self, pending: PendingResults) -> None:
        future, _ = add(pending, "a")
        refs = pending.take("a")
        del future
        assert pending.purge() == []
        assert [ref() for ref in refs] == [None]

    def test_pinned_ones_live(self, pending: PendingResults) -> None:
        future, ref = add(pending, "a")
        pending.pin(future)
        del future
        gc.collect()
        assert (ref() is not None, pending.purge()) == (True, [])
        (taken,) = [found() for found in pending.take("a")]
        assert taken is not None
        pending.unpin(taken)
        del taken
        assert ref() is None

    def test_forgetting_unpins(self, pending: PendingResults) -> None:
        future, ref = add(pending, "a")
        pending.pin(future)
        pending.forget(future)
        del future
        assert ref() is None


class TestDeadlines:
    def test_in_order(self, pending: PendingResults) -> None:
        made = {seconds: add(pending, f"id{seconds}", seconds) for seconds in (3.0, 1.0, 2.0)}
        add_forever = add(pending, "for ever", None)
        for _, ref in [*made.values(), add_forever]:
            pending.admit([ref], 0.0)
        assert pending.next_deadline() == 1.0
        assert pending.take_expired(0.5) == []
        assert sorted(ref.task_id for ref in pending.take_expired(2.0)) == ["id1.0", "id2.0"]
        assert pending.next_deadline() == 3.0
        assert [ref.task_id for ref in pending.take_expired(1e9)] == ["id3.0"]
        assert (pending.next_deadline(), pending.ids()) == (None, ["for ever"])

    def test_each_future_of_an_id_has_its_own(self, pending: PendingResults) -> None:
        early, late, never = [add(pending, "a", deadline) for deadline in (1.0, 2.0, None)]
        for _, ref in (early, late, never):
            pending.admit([ref], 0.0)
        assert pending.take_expired(1.0) == [early[1]]
        assert pending.futures("a") == [late[0], never[0]]
        assert pending.take_expired(2.0) == [late[1]]
        assert (len(pending), pending.futures("a")) == (1, [never[0]])

    def test_not_of_one_that_left(self, pending: PendingResults) -> None:
        future, ref = add(pending, "a", 1.0)
        pending.admit([ref], 0.0)
        pending.forget(future)
        # The same id again, for longer: the old deadline is not its own.
        again, again_ref = add(pending, "a", 5.0)
        pending.admit([again_ref], 0.0)
        assert pending.take_expired(2.0) == []
        assert pending.futures("a") == [again]
        assert pending.take_expired(5.0) == [again_ref]

    def test_the_heap_holds_no_future(self, pending: PendingResults) -> None:
        future, ref = add(pending, "a", 1.0)
        pending.admit([ref], 0.0)
        del future
        assert ref() is None

    def test_a_hundred_thousand_that_left_leave_no_heap(self, pending: PendingResults) -> None:
        """One day is the default lifetime: entries of futures that left must not wait for it."""
        kept = [add(pending, f"kept{number}", 1e9 + number) for number in range(100)]
        for _, ref in kept:
            pending.admit([ref], 0.0)
        largest = 0
        for number in range(100_000):
            future, ref = add(pending, f"id{number}", 1e9)
            pending.admit([ref], 0.0)
            pending.forget(future)
            # As the drain thread does in every turn.
            pending.next_deadline()
            largest = max(largest, pending._scheduled)
        assert largest <= 2 * 101 + 64
        assert len(pending) == 100
        assert {ref.task_id for ref in pending.take_expired(1e10)} == {ref.task_id for _, ref in kept}

    def test_of_a_thousand_in_one_call_one_stays(self, pending: PendingResults) -> None:
        made = [add(pending, f"id{number}", 1e9) for number in range(1000)]
        assert pending.admit([ref for _, ref in made], 0.0) == [f"id{number}" for number in range(1000)]
        for _, ref in made[1:]:
            pending.take(ref.task_id)
        assert pending.next_deadline() == 1e9
        assert pending._scheduled == 1
        assert pending.take_expired(2e9) == [made[0][1]]
        assert (pending._scheduled, pending.next_deadline()) == (0, None)

    def test_one_call_expires_and_the_next_does_not(self, pending: PendingResults) -> None:
        early = [add(pending, task_id, 1.0) for task_id in "ab"]
        late = [add(pending, task_id, 2.0) for task_id in "cd"]
        pending.admit([ref for _, ref in late], 0.0)
        pending.admit([ref for _, ref in early], 0.0)
        pending.take("a")
        assert pending.take_expired(1.0) == [early[1][1]]
        assert (pending._scheduled, pending.next_deadline(), pending.ids()) == (2, 2.0, ["c", "d"])

    def test_a_burst_that_left_leaves_no_heap(self, pending: PendingResults) -> None:
        """Also if nothing with a deadline comes after it."""
        burst = [add(pending, f"id{number}", 1e9) for number in range(1000)]
        for _, ref in burst:
            pending.admit([ref], 0.0)
        assert pending.next_deadline() == 1e9
        for _, ref in burst:
            pending.take(ref.task_id)
        assert pending.next_deadline() is None
        assert not pending._deadlines


class TestForcedInterleavings:
    """The second thread stands still at the one point where it could do harm."""

    def meanwhile(self, pending: PendingResults, act: Callable[[], object]) -> FutureRef:
        """Join "a" while this thread holds the lock, and do something before the joining one gets it."""
        future = ResultFuture("a", None)
        ref = reference(future, pending.dropped.append, None)  # type: ignore[arg-type]
        entries = pending._first
        at_the_lock = threading.Event()

        class Entries(dict[str, Any]):
            def setdefault(self, key: str, default: Any = None) -> Any:
                found = super().setdefault(key, default)
                at_the_lock.set()
                return found

        pending._first = Entries(entries)
        with leaf_lock():
            joining = Caller(lambda: pending.add(ref))
            # It has seen that somebody waits for this id already, and now needs the lock.
            assert at_the_lock.wait(10)
            act()
        joining.outcome()
        self.future = future
        return ref

    def test_join_against_take(self, pending: PendingResults) -> None:
        _first, first_ref = add(pending, "a")
        taken: list[FutureRef] = []
        ref = self.meanwhile(pending, lambda: taken.extend(pending.take("a")))
        assert taken == [first_ref]
        assert pending.take("a") == [ref], "whoever joins an id that was taken starts it anew"
        assert len(pending) == 0

    def test_join_against_forget(self, pending: PendingResults) -> None:
        first, _ = add(pending, "a")
        ref = self.meanwhile(pending, lambda: pending.forget(first))
        assert (len(pending), pending.take("a")) == (1, [ref])

    def test_join_against_join(self, pending: PendingResults) -> None:
        _first, first_ref = add(pending, "a")
        others: list[tuple[ResultFuture, FutureRef]] = []
        ref = self.meanwhile(pending, lambda: others.append(add(pending, "a")))
        assert len(pending) == 3
        assert pending.take("a") == [first_ref, others[0][1], ref]

    def test_join_against_purge(self, pending: PendingResults) -> None:
        first, _ = add(pending, "a")
        del first
        ref = self.meanwhile(pending, pending.purge)
        assert (len(pending), pending.take("a")) == (1, [ref])

    def test_the_collector_runs_inside_the_lock(self, pending: PendingResults) -> None:
        """A weakref callback there must take no lock: here it appends, from whichever thread."""
        future, _ = add(pending, "a")
        with leaf_lock():
            del future
            assert len(pending.dropped) == 1
            assert [ref.task_id for ref in pending.purge()] == ["a"]


def test_many_threads_lose_nobody(pending: PendingResults) -> None:
    """Eight threads join the same few ids while one takes them: each future is taken exactly once."""
    futures: list[ResultFuture] = []
    taken: list[FutureRef] = []
    stop = threading.Event()

    def join(number: int) -> None:
        for turn in range(500):
            futures.append(add(pending, f"id{(turn + number) % 3}")[0])

    def take() -> None:
        while not stop.is_set():
            for number in range(3):
                taken.extend(pending.take(f"id{number}"))

    taker = Caller(take)
    joiners = [Caller(lambda number=number: join(number)) for number in range(8)]  # type: ignore[misc]
    for joiner in joiners:
        joiner.outcome()
    stop.set()
    taker.outcome()
    for number in range(3):
        taken.extend(pending.take(f"id{number}"))
    assert sorted(map(id, futures)) == sorted(id(ref()) for ref in taken)
    assert len(pending) == 0
