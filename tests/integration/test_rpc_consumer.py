"""``consumers.rpc.ResultConsumer`` keeps the contract, with either binding, and what it asks of the broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import kombu
import pytest

from bgresults.consumers import BaseResultConsumer
from bgresults.consumers.rpc import ResultConsumer
from tests.integration.contract import ConsumerContract
from tests.support import wait_until
from tests.support.broker import publish
from tests.support.consumers import Recorder, drain_until
from tests.support.forks import run_in_child
from tests.support.rpc import RpcBench

pytestmark = pytest.mark.rabbitmq

# kombu has no types of its own.
_Consumer: Any = kombu.Consumer  # type: ignore[attr-defined]


@pytest.fixture
def bench(rabbitmq_url: str) -> Iterator[RpcBench]:
    made = RpcBench(rabbitmq_url, "process")
    yield made
    made.close()


@pytest.fixture
def task_bench(rabbitmq_url: str) -> Iterator[RpcBench]:
    made = RpcBench(rabbitmq_url, "task")
    yield made
    made.close()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


class TestContract(ConsumerContract):
    """With one reply queue for the process."""

    def test_a_forked_child_can_start_anew(  # type: ignore[override]
        self, bench: RpcBench, consumer: BaseResultConsumer, seen: Recorder
    ) -> None:
        """A child has a queue of its own, so what is for the child has to be sent to that one."""
        consumer.start("parents")
        parents_queue = consumer.reply_to

        def child() -> None:
            consumer.on_after_fork()
            assert bench.connections() == 0, "the child has a copy of the parent's"
            consumer.start("childs")
            assert consumer.reply_to not in {None, parents_queue}
            publish(bench.url, consumer.reply_to, "childs", "for the child")
            drain_until(consumer, lambda: seen.values.get("childs") == "for the child")
            consumer.stop()

        assert run_in_child(child) == 0
        assert seen.states == []
        assert consumer.reply_to == parents_queue
        bench.send("parents", 1)
        drain_until(consumer, lambda: seen.states)


class TestContractWithOneQueuePerTask(ConsumerContract):
    """Each named after its task."""

    @pytest.fixture
    def bench(self, task_bench: RpcBench) -> RpcBench:
        return task_bench


class Noting(_Consumer):  # type: ignore[misc]
    """A user's own, which sees every message first."""

    noted: ClassVar[list[Any]]

    def _receive_callback(self, message: Any) -> Any:
        type(self).noted.append(message.body)
        return super()._receive_callback(message)


class TestTheConsumerClass:
    def test_it_is_kombus(self) -> None:
        assert ResultConsumer.Consumer is _Consumer

    def test_another_one_sees_the_messages(self, bench: RpcBench, seen: Recorder) -> None:
        class Own(Noting):
            noted: ClassVar[list[Any]] = []

        class OwnResultConsumer(ResultConsumer):
            Consumer = Own

        consumer = bench.consumer(seen, OwnResultConsumer)
        consumer.start("a")
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        assert len(Own.noted) == 1
        assert b'"task_id": "a"' in Own.noted[0]

    def test_on_state_change_of_a_subclass(self, bench: RpcBench, seen: Recorder) -> None:
        class OwnResultConsumer(ResultConsumer):
            changes: ClassVar[list[str]] = []

            def on_state_change(self, meta: Any, message: Any) -> None:
                self.changes.append(meta["status"])
                super().on_state_change(meta, message)

        consumer = bench.consumer(seen, OwnResultConsumer)
        consumer.start("a")
        bench.send("a", 1, "PROGRESS")
        bench.send("a", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert OwnResultConsumer.changes == ["PROGRESS", "SUCCESS"]


class TestAcknowledging:
    """What was handled is acknowledged, once and at once; what was not comes again."""

    @pytest.fixture(params=["process", "task"])
    def narrow(self, request: pytest.FixtureRequest, rabbitmq_url: str) -> Iterator[RpcBench]:
        """The broker sends one message ahead, and no more."""
        made = RpcBench(rabbitmq_url, request.param, prefetch=1)
        yield made
        made.close()

    def test_the_broker_waits_for_it(self, narrow: RpcBench, seen: Recorder) -> None:
        consumer = narrow.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        for number in range(5):
            narrow.send("a", number, "PROGRESS")
        queue = narrow.queue_for("a")
        wait_until(lambda: narrow.writer.counts(queue) == (4, 1), "one message on its way")
        drain_until(consumer, lambda: len(seen.states) == 5)
        assert [result for _, _, result in seen.states] == [0, 1, 2, 3, 4]

    def test_no_ack_does_without(self, narrow: RpcBench, seen: Recorder) -> None:
        consumer = narrow.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=True)
        for number in range(5):
            narrow.send("a", number, "PROGRESS")
        queue = narrow.queue_for("a")
        wait_until(lambda: narrow.writer.counts(queue) == (0, 1), "all messages to be on their way")
        drain_until(consumer, lambda: len(seen.states) == 5)
        # An acknowledgement of what needs none would have closed the channel.
        for _ in range(3):
            consumer.drain_events(0.05)
        assert consumer.connected

    def test_whatever_it_was(self, narrow: RpcBench, seen: Recorder) -> None:
        """Each of these would fill the window of one message for ever, and the last one would never come."""
        consumer = narrow.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        queue = narrow.queue_for("a")
        narrow.send("a", 1, "PROGRESS")
        narrow.writer.write(queue, "not asked for", 1)
        narrow.writer.write_raw(queue, b"{", correlation_id="not asked for either")
        narrow.writer.write_raw(queue, b"{")
        narrow.writer.write_raw(queue, b"\xff", headers={"compression": "zlib"})
        narrow.writer.write_raw(queue, b"x", content_type="application/x-python-serialize", content_encoding="binary")
        narrow.send("a", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert seen.errors == []
        assert consumer.counters.undecodable == 4

    @pytest.mark.parametrize("binding", ["process", "task"])
    def test_several_at_a_time(self, rabbitmq_url: str, seen: Recorder, binding: Literal["process", "task"]) -> None:
        """More states than the window holds, and all that come together are acknowledged together."""
        bench = RpcBench(rabbitmq_url, binding, prefetch=5)
        try:
            consumer = bench.consumer(seen, auto_reconnect=False)
            consumer.start("a", no_ack=False)
            for number in range(100):
                bench.send("a", number, "PROGRESS")
            drain_until(consumer, lambda: len(seen.states) == 100)
            # A polite farewell: the broker has heard everything before.
            consumer.reconnect()
            bench.send("a", 100)
            drain_until(consumer, lambda: len(seen.states) == 101)
            assert [result for _, _, result in seen.states] == list(range(101))
            assert consumer.counters.redelivered == 0
        finally:
            bench.close()

    def test_what_was_handled_does_not_come_again(self, narrow: RpcBench, seen: Recorder) -> None:
        consumer = narrow.consumer(seen)
        consumer.start("a", no_ack=False)
        narrow.send("a", 1, "PROGRESS")
        narrow.send("a", 2, "PROGRESS")
        # The broker sends the second one when it knows that the first was handled.
        drain_until(consumer, lambda: len(seen.states) == 2)
        narrow.cut(consumer)
        consumer.reconnect()
        narrow.send("a", 3)
        drain_until(consumer, lambda: ("a", "SUCCESS", 3) in seen.states)
        assert [result for _, _, result in seen.states].count(1) == 1
        assert consumer.counters.redelivered <= 1

    def test_stopped_over_a_link_that_is_lost(self, rabbitmq_url: str, seen: Recorder) -> None:
        """Nothing can be acknowledged any more, no queue deleted; nobody is told, and what was handled comes again."""
        bench = RpcBench(rabbitmq_url, "task")
        try:
            consumer = bench.consumer(seen, auto_reconnect=False)
            consumer.start("a", no_ack=False)
            bench.send("a", 1, "PROGRESS")
            drain_until(consumer, lambda: seen.states)
            bench.cut(consumer)
            consumer.stop()
            assert not consumer.connected
            assert bench.writer.exists("a")
        finally:
            bench.close()

    def test_what_was_on_its_way_comes_again(self, narrow: RpcBench, seen: Recorder) -> None:
        consumer = narrow.consumer(seen)
        consumer.start("a", no_ack=False)
        narrow.send("a", 1)
        queue = narrow.queue_for("a")
        wait_until(lambda: narrow.writer.counts(queue) == (0, 1), "the message to be on its way")
        narrow.cut(consumer)
        # Without a look at what is there: what has arrived could still be read.
        consumer.reconnect()
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]
        assert consumer.counters.redelivered == 1

    def test_what_came_with_the_farewell_comes_again(self, narrow: RpcBench, seen: Recorder) -> None:
        """It is read while a connection is closed politely, and can be acknowledged no more."""
        consumer = narrow.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        narrow.send("a", 1)
        queue = narrow.queue_for("a")
        wait_until(lambda: narrow.writer.counts(queue) == (0, 1), "the message to be on its way")
        consumer.reconnect()
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]
        assert consumer.counters.redelivered == 1

    def test_what_came_with_the_farewell_is_kept_where_nothing_comes_again(
        self, narrow: RpcBench, seen: Recorder
    ) -> None:
        consumer = narrow.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=True)
        narrow.send("a", 1)
        queue = narrow.queue_for("a")
        wait_until(lambda: narrow.writer.counts(queue) == (0, 1), "the message to be on its way")
        consumer.reconnect()
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]
        assert consumer.connected

    def test_what_was_handled_and_not_acknowledged_comes_again_and_is_dropped(
        self, bench: RpcBench, seen: Recorder
    ) -> None:
        consumer = bench.consumer(seen)
        consumer.start("a", no_ack=False)
        consumer.consume_from("b")
        bench.send("a", 1)
        usual = seen.on_state

        def cut_in_the_middle(task_id: str, mapping: dict[str, Any]) -> None:
            usual(task_id, mapping)
            if len(seen.states) == 1:
                bench.cut(consumer)

        consumer._on_state = cut_in_the_middle
        drain_until(consumer, lambda: consumer.counters.duplicate)
        assert seen.states == [("a", "SUCCESS", 1)]
        bench.send("b", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert (consumer.counters.redelivered, consumer.counters.duplicate) == (1, 1)
        # And it is still there for a second look.
        consumer.consume_from("a")
        drain_until(consumer, lambda: len(seen.states) == 3)
        assert seen.states[2] == ("a", "SUCCESS", 1)


class TestOnWaitForPending:
    """Nothing is stored at a broker, but what came too early is here."""

    @pytest.mark.parametrize("shape", ["id", "ids"])
    def test_what_came_before_anybody_asked(self, bench: RpcBench, seen: Recorder, shape: str) -> None:
        consumer = bench.consumer(seen)
        consumer.start(None, no_ack=False)
        bench.send("a", 1, "PROGRESS")
        bench.send("a", 2)
        bench.send("b", 3)
        drain_until(consumer, lambda: consumer.counters.buffered == 3)
        assert seen.states == []
        consumer.on_wait_for_pending("a" if shape == "id" else ["a", "unknown"])
        assert seen.states == [("a", "PROGRESS", 1), ("a", "SUCCESS", 2)]
        assert consumer.consumed_ids() == []
        # Not an end, and not the last question.
        consumer.on_wait_for_pending(["a"])
        assert seen.states[2:] == [("a", "SUCCESS", 2)]

    def test_what_did_not_come(self, consumer_of: BaseResultConsumer, seen: Recorder) -> None:
        consumer_of.start("a")
        consumer_of.on_wait_for_pending(["a", "b"])
        assert seen.states == []
        assert consumer_of.consumed_ids() == ["a"]

    @pytest.fixture
    def consumer_of(self, bench: RpcBench, seen: Recorder) -> BaseResultConsumer:
        return bench.consumer(seen)


class TestDeclareFor:
    @pytest.mark.parametrize("binding", ["process", "task"])
    def test_it_is_done_when_there_is_a_connection_again(
        self, rabbitmq_url: str, seen: Recorder, binding: Literal["process", "task"]
    ) -> None:
        bench = RpcBench(rabbitmq_url, binding)
        told: list[Exception | None] = []
        try:
            consumer = bench.consumer(seen)
            consumer.start(None)
            bench.cut(consumer)
            for task_id in ("a", "b"):
                consumer.declare_for(task_id, told.append)
            drain_until(consumer, lambda: len(told) == 2)
            assert told == [None, None]
            queues = [consumer.reply_to] if binding == "process" else ["a", "b"]
            assert all(bench.writer.exists(queue) for queue in queues)
        finally:
            bench.writer.delete("a", "b")
            bench.close()
