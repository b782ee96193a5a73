"""Which ids the server is asked for: against a server that answers in order, and late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bgresults.consumers.redis.subscriptions import BATCH_SIZE, IN_FLIGHT, LINGER, Batch, Subscriptions

LATER = LINGER + 0.001


def confirm(subscriptions: Subscriptions, batch: Batch) -> Batch | None:
    """Confirm every channel of a batch; only the last one completes it."""
    for _ in batch.ids[1:]:
        assert subscriptions.confirmed() == []
    (complete,) = subscriptions.confirmed()
    return complete


def subscribed(*ids: str) -> Subscriptions:
    """With these ids subscribed and confirmed."""
    subscriptions = Subscriptions()
    subscriptions.consume(ids)
    while (batch := subscriptions.next_subscribe()) is not None:
        confirm(subscriptions, batch)
    return subscriptions


def test_one_command_for_many() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.consume(["a", "b", "a"]) == []
    assert (len(subscriptions), list(subscriptions.wanted)) == (2, ["a", "b"])
    batch = subscriptions.next_subscribe()
    assert batch is not None
    assert (batch.ids, batch.subscribing, batch.resync) == (["a", "b"], True, False)
    assert subscriptions.next_subscribe() is None
    assert confirm(subscriptions, batch) is batch


def test_an_interrupted_leave_holds_nobody_up() -> None:
    """A signal handler raised between the two steps: the id is not wanted any more, and still waits to be sent."""
    subscriptions = subscribed("leaving")
    subscriptions.restart()
    del subscriptions._consumed["leaving"]
    subscriptions.consume(["fresh"])
    batch = subscriptions.next_subscribe()
    assert batch is not None
    assert (batch.ids, batch.resync) == (["fresh"], False)


def test_what_is_no_collection_of_ids_changes_nothing() -> None:
    subscriptions = subscribed("leaving")
    subscriptions.cancel(["leaving"])

    def broken() -> Iterator[str]:
        yield from ("fresh", "leaving")
        raise LookupError

    with pytest.raises(LookupError):
        subscriptions.consume(broken())
    assert len(subscriptions) == 0
    assert subscriptions.consume(["fresh", "leaving"]) == ["leaving"]
    batch = subscriptions.next_subscribe()
    assert batch is not None
    assert batch.ids == ["fresh"]


def test_batches_are_bounded_and_few_are_on_their_way() -> None:
    subscriptions = Subscriptions()
    subscriptions.consume(str(number) for number in range(5 * BATCH_SIZE))
    batches = []
    while (batch := subscriptions.next_subscribe()) is not None:
        batches.append(batch)
    assert len(batches) == IN_FLIGHT
    assert 500 <= BATCH_SIZE <= 1000
    assert {len(batch.ids) for batch in batches} == {BATCH_SIZE}
    confirm(subscriptions, batches[0])
    assert subscriptions.next_subscribe() is not None
    assert subscriptions.next_subscribe() is None


def test_an_unsubscribe_waits_a_moment() -> None:
    subscriptions = subscribed("a", "b")
    subscriptions.cancel(["a", "unknown"])
    assert "a" not in subscriptions.wanted
    assert subscriptions.next_unsubscribe(100.0, together=False) is None
    assert subscriptions.next_due() == 100.0 + LINGER
    subscriptions.cancel(["b"])
    batch = subscriptions.next_unsubscribe(100.0 + LATER, together=False)
    assert batch is not None
    assert (batch.ids, batch.subscribing) == (["a", "b"], False)
    assert subscriptions.next_unsubscribe(100.0 + LATER, together=False) is None
    assert subscriptions.next_due() is None


def test_an_unsubscribe_travels_with_a_subscribe() -> None:
    subscriptions = subscribed("a")
    subscriptions.cancel(["a"])
    batch = subscriptions.next_unsubscribe(100.0, together=True)
    assert batch is not None
    assert batch.ids == ["a"]


def test_many_that_leave_do_not_wait() -> None:
    ids = [str(number) for number in range(BATCH_SIZE)]
    subscriptions = subscribed(*ids)
    subscriptions.cancel(ids)
    batch = subscriptions.next_unsubscribe(100.0, together=False)
    assert batch is not None
    assert batch.ids == ids


def test_few_that_leave_are_on_their_way() -> None:
    ids = [str(number) for number in range(5 * BATCH_SIZE)]
    subscriptions = subscribed(*ids)
    subscriptions.cancel(ids)
    batches = []
    while (batch := subscriptions.next_unsubscribe(100.0, together=True)) is not None:
        batches.append(batch)
    assert len(batches) == IN_FLIGHT
    assert subscriptions.next_due() is None, "the thread would not sleep until the server has answered"
    confirm(subscriptions, batches[0])
    assert subscriptions.next_due() == 100.0 + LINGER
    assert subscriptions.next_unsubscribe(100.0, together=False) is not None
    assert subscriptions.next_unsubscribe(100.0, together=False) is None


def test_after_a_reconnect_nobody_leaves_before_all_are_asked_for() -> None:
    ids = [str(number) for number in range(3 * BATCH_SIZE)]
    subscriptions = subscribed(*ids)
    subscriptions.restart()
    first, second = subscriptions.next_subscribe(), subscriptions.next_subscribe()
    assert first is not None
    assert second is not None
    subscriptions.cancel(first.ids)
    assert subscriptions.next_unsubscribe(100.0 + LATER, together=True) is None
    assert subscriptions.next_due() is None
    confirm(subscriptions, first)
    third = subscriptions.next_subscribe()
    assert third is not None
    leaving = subscriptions.next_unsubscribe(100.0 + LATER, together=True)
    assert leaving is not None
    assert leaving.ids == first.ids


def test_wanted_again_before_it_left() -> None:
    subscriptions = subscribed("a")
    subscriptions.cancel(["a"])
    assert subscriptions.consume(["a"]) == ["a"], "still subscribed: its value can be read at once"
    assert subscriptions.next_subscribe() is None
    assert subscriptions.next_unsubscribe(100.0 + LATER, together=False) is None
    assert subscriptions.next_due() is None


def test_wanted_again_while_it_leaves() -> None:
    subscriptions = subscribed("a")
    subscriptions.cancel(["a"])
    leaving = subscriptions.next_unsubscribe(100.0, together=True)
    assert leaving is not None
    assert subscriptions.consume(["a"]) == []
    batch = subscriptions.next_subscribe()
    assert batch is not None
    assert batch.ids == ["a"]
    assert confirm(subscriptions, leaving) is leaving
    assert confirm(subscriptions, batch) is batch


def test_not_wanted_any_more_before_it_was_sent() -> None:
    subscriptions = Subscriptions()
    subscriptions.consume(["a"])
    subscriptions.cancel(["a"])
    assert subscriptions.next_subscribe() is None
    assert subscriptions.next_unsubscribe(200.0, together=True) is None


def test_resolved_lately() -> None:
    subscriptions = subscribed("resolved", "cancelled")
    subscriptions.resolved("resolved")
    subscriptions.cancel(["cancelled"])
    assert subscriptions.resolved_lately("resolved")
    assert not subscriptions.resolved_lately("cancelled")
    batch = subscriptions.next_unsubscribe(200.0, together=True)
    assert batch is not None
    assert subscriptions.resolved_lately("resolved")
    confirm(subscriptions, batch)
    assert not subscriptions.resolved_lately("resolved")


def test_restart_asks_for_everything_again_and_first() -> None:
    subscriptions = subscribed("a", "b", "gone")
    subscriptions.cancel(["gone"])
    subscriptions.restart()
    assert subscriptions.resyncing()
    assert subscriptions.next_unsubscribe(200.0, together=True) is None
    subscriptions.consume(["new"])
    first, second = subscriptions.next_subscribe(), subscriptions.next_subscribe()
    assert first is not None
    assert second is not None
    assert (first.ids, first.resync) == (["a", "b"], True)
    assert (second.ids, second.resync) == (["new"], False)
    assert subscriptions.resyncing()
    confirm(subscriptions, first)
    assert not subscriptions.resyncing()


def test_a_confirmation_that_nobody_asked_for() -> None:
    assert Subscriptions().confirmed(3) == []


class ServerMachine(RuleBasedStateMachine):
    """Whatever is wanted in whatever order: once all is quiet, the server reports just that, and all of it was read."""

    ids = st.sampled_from([f"id{number}" for number in range(6)])

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions()
        self.wanted: set[str] = set()
        self.now = 0.0
        self.on_its_way: deque[Batch] = deque()
        self.channels: set[str] = set()
        #: Ids whose value was read, or may be read now, since they were wanted last.
        self.readable: set[str] = set()

    @rule(some=st.sets(ids))
    def consume(self, some: set[str]) -> None:
        self.readable -= some - self.wanted
        self.readable |= set(self.subscriptions.consume(sorted(some)))
        self.wanted |= some

    @rule(some=st.sets(ids), resolved=st.booleans())
    def cancel(self, some: set[str], resolved: bool) -> None:
        if resolved:
            for task_id in some:
                self.subscriptions.resolved(task_id)
        else:
            self.subscriptions.cancel(sorted(some))
        self.wanted -= some

    @rule(seconds=st.sampled_from([0.0, LATER]))
    def flush(self, seconds: float) -> None:
        self.now += seconds
        together = False
        while (batch := self.subscriptions.next_subscribe()) is not None:
            self.on_its_way.append(batch)
            together = True
        while (batch := self.subscriptions.next_unsubscribe(self.now, together=together)) is not None:
            self.on_its_way.append(batch)

    @rule()
    def serve(self) -> None:
        if not self.on_its_way:
            return
        batch = self.on_its_way.popleft()
        if batch.subscribing:
            self.channels.update(batch.ids)
        else:
            self.channels.difference_update(batch.ids)
        assert confirm(self.subscriptions, batch) is batch
        if batch.subscribing:
            self.readable |= {task_id for task_id in batch.ids if task_id in self.subscriptions.wanted}

    @rule()
    def reconnect(self) -> None:
        self.on_its_way.clear()
        self.channels.clear()
        self.readable.clear()
        self.subscriptions.restart()

    @rule()
    def quiet(self) -> None:
        for _ in range(10):
            self.flush(LATER)
            while self.on_its_way:
                self.serve()
        assert self.channels == self.wanted
        assert self.readable >= self.wanted
        assert not self.subscriptions.resyncing()
        assert self.subscriptions.next_due() is None

    @invariant()
    def agrees(self) -> None:
        assert set(self.subscriptions.wanted) == self.wanted
        assert len(self.subscriptions) == len(self.wanted)


TestServerMachine = ServerMachine.TestCase
TestServerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
