"""The contract of a result consumer, as tests. Each kind of consumer runs them: see ``test_redis_consumer.py``.

No thread and no watcher: the test itself calls the methods of the specification, in the one thread there is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import pytest

from bgresults import ResultDecodeError
from bgresults.consumers import BaseResultConsumer, ConnectionLost
from bgresults.wakeup import Wakeup
from tests.support import wait_until
from tests.support.consumers import ConsumerBench, Recorder, drain_until
from tests.support.forks import c_fork, run_in_child


class ConsumerContract:
    """Inherit from it, and have a fixture ``bench``."""

    @pytest.fixture
    def seen(self) -> Recorder:
        return Recorder()

    @pytest.fixture
    def consumer(self, bench: ConsumerBench, seen: Recorder) -> BaseResultConsumer:
        return bench.consumer(seen)

    def test_start_consumes_the_first_id(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("a", no_ack=True)
        assert consumer.connected
        assert consumer.consumed_ids() == ["a"]
        bench.send("a", 1)
        assert drain_until(consumer, lambda: seen.states) == 1
        assert seen.states == [("a", "SUCCESS", 1)]

    def test_start_without_an_id_connects(self, consumer: BaseResultConsumer) -> None:
        consumer.start(None)
        assert (consumer.connected, consumer.subscribed) == (True, 0)

    def test_what_was_there_before_arrives(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        bench.send("a", 1)
        consumer.start("a")
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]

    def test_consume_from_starts_it(self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder) -> None:
        consumer.consume_from("a")
        assert consumer.connected
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)

    def test_consume_from_many(self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder) -> None:
        consumer.start("a")
        consumer.consume_from_many(["b", "c", "b"])
        assert consumer.subscribed == 3
        for task_id in "abc":
            bench.send(task_id, task_id.upper())
        drain_until(consumer, lambda: len(seen.states) == 3)
        assert seen.values == {"a": "A", "b": "B", "c": "C"}

    def test_states_come_in_order_and_the_final_one_ends_it(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced and bench.asked_for())
        drain_until(consumer, lambda: consumer.drain_events(0.05) == 0)
        bench.send("a", None, "STARTED")
        bench.send("a", {"done": 1}, "PROGRESS")
        bench.send("a", 2)
        drain_until(consumer, lambda: len(seen.states) >= 3)
        assert [status for _, status, _ in seen.states] == ["STARTED", "PROGRESS", "SUCCESS"]
        assert consumer.consumed_ids() == []
        drain_until(consumer, lambda: not bench.asked_for())

    @pytest.mark.parametrize("many", [False, True])
    def test_cancel_for(self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder, many: bool) -> None:
        consumer.start("kept")
        consumer.consume_from_many(["a", "b"])
        drain_until(consumer, lambda: bench.asked_for() == {"kept", "a", "b"})
        if many:
            consumer.cancel_for_many(["a", "b", "unknown"])
        else:
            consumer.cancel_for("a")
            consumer.cancel_for("b")
            consumer.cancel_for("unknown")
        assert consumer.consumed_ids() == ["kept"]
        drain_until(consumer, lambda: bench.asked_for() == {"kept"})
        for task_id in ("a", "b", "kept"):
            bench.send(task_id, 1)
        drain_until(consumer, lambda: seen.states)
        assert [task_id for task_id, _, _ in seen.states] == ["kept"]

    def test_cancelled_and_consumed_again(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("a")
        for _ in range(3):
            consumer.cancel_for("a")
            consumer.consume_from("a")
            consumer.drain_events(0)
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]

    def test_consumed_again_by_the_callback(self, bench: ConsumerBench) -> None:
        """With its final state an id has left, before anybody is told."""

        class Again(Recorder):
            def on_state(self, task_id: str, mapping: dict[str, Any]) -> None:
                super().on_state(task_id, mapping)
                if len(self.states) == 1:
                    consumer.consume_from(task_id)

        seen = Again()
        consumer = bench.consumer(seen)
        consumer.start("a")
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        # What is stored may have been told once more by now.
        assert consumer.consumed_ids() == ["a"] or len(seen.states) > 1
        bench.send("a", 2)
        drain_until(consumer, lambda: len(seen.states) > 1)
        assert consumer.consumed_ids() == []

    def test_consumed_again_each_time(self, bench: ConsumerBench) -> None:
        """Whatever is kept for the id is told in another turn: nobody else has to wait for the end of it."""

        class Again(Recorder):
            def on_state(self, task_id: str, mapping: dict[str, Any]) -> None:
                super().on_state(task_id, mapping)
                if task_id == "again" and len(self.states) < 1000:
                    consumer.consume_from(task_id)

        seen = Again()
        consumer = bench.consumer(seen)
        consumer.start("again")
        consumer.consume_from("other")
        drain_until(consumer, lambda: bench.asked_for() == {"again", "other"})
        bench.send("again", 1)
        drain_until(consumer, lambda: seen.states)
        for _ in range(3):
            before = len(seen.states)
            consumer.drain_events(timeout=0)
            assert len(seen.states) < before + 10, "all in one call"
        bench.send("other", 2)
        drain_until(consumer, lambda: ("other", "SUCCESS", 2) in seen.states)

    def test_drain_events_counts(self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder) -> None:
        consumer.start("a")
        consumer.consume_from("b")
        bench.send("a", 1)
        bench.send("b", 1)
        assert drain_until(consumer, lambda: len(seen.states) == 2) == 2
        assert consumer.drain_events(timeout=0) == 0

    def test_drain_events_waits_without_spinning(self, consumer: BaseResultConsumer) -> None:
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced)

        def longest_turn(timeout: float) -> float:
            taken: list[float] = []
            started = time.monotonic()
            while not taken or time.monotonic() - started < timeout:
                before = time.monotonic()
                assert consumer.drain_events(timeout=timeout) == 0
                taken.append(time.monotonic() - before)
            # One sleep takes it all, except for what has just been asked of the server, and for the rounding of clocks.
            assert len(taken) < 15
            return max(taken)

        for timeout in (0.0, 0.05, 0.4):
            # Not each time: the machine may have other things to do for a second.
            assert any(longest_turn(timeout) < timeout + 1.0 for _ in range(3))

    def test_drain_events_ends_with_a_wake_up(self, bench: ConsumerBench, seen: Recorder) -> None:
        wakeup = Wakeup()
        try:
            consumer = bench.consumer(seen, wakeup=wakeup)
            consumer.start("a")
            for _ in range(10):
                consumer.drain_events(0.02)
            wakeup.wake()
            started = time.monotonic()
            assert consumer.drain_events(timeout=30) == 0
            assert time.monotonic() - started < 10
            assert not wakeup.wait(0), "the wake-up was answered"
        finally:
            wakeup.close()

    def test_drain_events_before_the_start(self, consumer: BaseResultConsumer) -> None:
        started = time.monotonic()
        assert consumer.drain_events(timeout=0.1) is None
        assert 0.09 <= time.monotonic() - started < 5

    def test_an_undecodable_state_hurts_only_its_own_id(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("bad")
        consumer.consume_from("good")
        bench.send_garbage("bad")
        bench.send("good", 1)
        drain_until(consumer, lambda: seen.states and seen.errors)
        assert seen.states == [("good", "SUCCESS", 1)]
        ((task_id, error),) = seen.errors
        assert task_id == "bad"
        assert isinstance(error, ResultDecodeError)
        assert consumer.consumed_ids() == []
        assert consumer.counters.undecodable == 1

    def test_on_state_change_is_where_states_pass(self, bench: ConsumerBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        passed: list[tuple[Mapping[str, Any], Any]] = []
        usual = consumer.on_state_change

        def noting(meta: Mapping[str, Any], message: Any) -> None:
            passed.append((meta, message))
            usual(meta, message)

        consumer.on_state_change = noting  # type: ignore[method-assign]
        bench.send("stored", 1)
        consumer.start("stored")
        consumer.consume_from("later")
        bench.send("later", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert {meta["task_id"]: meta["result"] for meta, _ in passed} == {"stored": 1, "later": 2}
        assert all(message is not None for _, message in passed)

    def test_on_state_change_by_hand(self, consumer: BaseResultConsumer, seen: Recorder) -> None:
        consumer.start("a")
        consumer.on_state_change({"task_id": "a", "status": "PROGRESS", "result": 1}, b"")
        assert consumer.consumed_ids() == ["a"]
        consumer.on_state_change({"task_id": "a", "status": "SUCCESS", "result": 2}, b"")
        assert consumer.consumed_ids() == []
        assert seen.states == [("a", "PROGRESS", 1), ("a", "SUCCESS", 2)]

    def test_stop(self, bench: ConsumerBench, consumer: BaseResultConsumer) -> None:
        consumer.stop()
        consumer.start("a")
        consumer.stop()
        consumer.stop()
        assert not consumer.connected
        wait_until(lambda: bench.connections() == 0, "the connections to be closed")
        assert consumer.drain_events(timeout=0) is None

    def test_start_after_stop(self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder) -> None:
        consumer.start("a")
        consumer.stop()
        consumer.start("b")
        bench.send("b", 1)
        drain_until(consumer, lambda: seen.values.get("b") == 1)

    def test_reconnect_finds_what_came_meanwhile(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("a")
        consumer.consume_from("b")
        drain_until(consumer, lambda: consumer.synced)
        bench.cut(consumer)
        bench.send("a", "meanwhile")
        consumer.reconnect()
        assert consumer.consumed_ids() == ["a", "b"]
        drain_until(consumer, lambda: consumer.synced and seen.states)
        assert seen.states == [("a", "SUCCESS", "meanwhile")]
        bench.send("b", "later")
        drain_until(consumer, lambda: len(seen.states) == 2)

    def test_drain_events_reconnects_by_itself(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced)
        bench.cut(consumer)
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        assert consumer.connected

    def test_without_auto_reconnect_the_loss_is_raised(self, bench: ConsumerBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start("a")
        bench.cut(consumer)
        with pytest.raises(ConnectionLost) as caught:
            drain_until(consumer, lambda: False)
        assert not caught.value.permanent
        assert not consumer.connected
        with pytest.raises(ConnectionLost):
            consumer.drain_events(0)
        bench.send("a", 1)
        consumer.reconnect()
        drain_until(consumer, lambda: seen.states)

    @pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["fork", "c_fork"])
    def test_on_after_fork_sends_nothing(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder, fork: Any
    ) -> None:
        """The child lets go of the connections, and they are the parent's as before."""
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced)

        def child() -> None:
            consumer.on_after_fork()
            consumer.on_after_fork()
            assert not consumer.connected
            assert consumer.drain_events(0) is None
            consumer.stop()

        before = bench.connections()
        assert run_in_child(child, fork=fork) == 0
        assert bench.connections() == before
        assert bench.asked_for() == {"a"}
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]

    def test_a_forked_child_can_start_anew(
        self, bench: ConsumerBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        consumer.start("parents")

        def child() -> None:
            consumer.on_after_fork()
            consumer.start("childs")
            drain_until(consumer, lambda: seen.values.get("childs") == "for the child")
            consumer.stop()

        bench.send("childs", "for the child")
        assert run_in_child(child) == 0
        assert seen.states == []
        bench.send("parents", 1)
        drain_until(consumer, lambda: seen.states)
