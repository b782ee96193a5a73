"""The queues that the rpc consumer declares: their shape, how long they live, and what happens when they go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amqp.exceptions import PreconditionFailed

from bgresults import NotWatchableError, ReplyLostError
from bgresults.consumers.rpc import replies
from tests.support import wait_until
from tests.support.consumers import Recorder, drain_until
from tests.support.results import new_id, new_ids
from tests.support.rpc import QUEUE_ARGUMENTS, Holder, RpcBench

pytestmark = pytest.mark.rabbitmq

NewBench = Callable[..., RpcBench]


@pytest.fixture
def new_bench(rabbitmq_url: str) -> Iterator[NewBench]:
    """``new_bench(binding, **options)``; closed at the end of the test."""
    made: list[RpcBench] = []

    def make(binding: Any, **options: Any) -> RpcBench:
        made.append(RpcBench(rabbitmq_url, binding, **options))
        return made[-1]

    yield make
    for bench in reversed(made):
        bench.close()


@pytest.fixture
def hold(rabbitmq_url: str) -> Iterator[Callable[[str], Holder]]:
    """Have somebody else consume a queue, which is deleted at the end."""
    made: list[Holder] = []

    def make(queue: str) -> Holder:
        made.append(Holder(rabbitmq_url, queue))
        return made[-1]

    yield make
    for holder in made:
        holder.delete()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


class TestOneForTheProcess:
    def test_its_shape(self, new_bench: NewBench, seen: Recorder) -> None:
        """It outlives its connection, but not for ever."""
        bench = new_bench("process")
        consumer = bench.consumer(seen)
        consumer.start(None)
        assert consumer.reply_to is not None
        # Declaring it again is right only with the very same properties, and from here only if it is not exclusive.
        bench.writer.make(consumer.reply_to, arguments=QUEUE_ARGUMENTS)
        others: list[dict[str, Any]] = [{"durable": False}, {"auto_delete": True}, {"arguments": {}}]
        for other in others:
            with pytest.raises(PreconditionFailed):
                bench.writer.make(consumer.reply_to, **{"arguments": QUEUE_ARGUMENTS, **other})

    @pytest.mark.parametrize("queue_type", ["classic", "quorum"])
    def test_its_type_and_its_life(self, new_bench: NewBench, seen: Recorder, queue_type: str) -> None:
        bench = new_bench("process", queue_type=queue_type, queue_expires=30)
        consumer = bench.consumer(seen)
        consumer.start("a", no_ack=False)
        assert consumer.reply_to is not None
        bench.writer.make(consumer.reply_to, arguments={"x-expires": 30_000, "x-queue-type": queue_type})
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)

    def test_nobody_else_has_its_name(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("process")
        consumers = [bench.consumer(seen) for _ in range(3)]
        for consumer in consumers:
            consumer.start(None)
        assert len({consumer.reply_to for consumer in consumers}) == 3

    def test_it_keeps_its_name_over_reconnects(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("process")
        consumer = bench.consumer(seen)
        consumer.start(None)
        name = consumer.reply_to
        bench.cut(consumer)
        drain_until(consumer, lambda: bench.writer.consumers(name) == 1 and consumer.connected)
        consumer.reconnect()
        assert consumer.reply_to == name

    def test_stop_leaves_none_behind(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("process")
        consumer = bench.consumer(seen)
        consumer.start("a")
        name = consumer.reply_to
        assert bench.writer.exists(name)
        consumer.stop()
        assert consumer.reply_to is None
        wait_until(lambda: not bench.writer.exists(name), "the queue to be deleted")

    @pytest.mark.parametrize("away", [False, True], ids=["connected", "while away"])
    @pytest.mark.parametrize("on_reply_loss", ["wait", "fail"])
    def test_it_is_deleted(self, new_bench: NewBench, seen: Recorder, away: bool, on_reply_loss: str) -> None:
        bench = new_bench("process", on_reply_loss=on_reply_loss)
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        name = consumer.reply_to
        if away:
            bench.cut(consumer)
            wait_until(lambda: bench.writer.consumers(name) == 0, "the consumer to be gone")
        bench.writer.delete(name)
        if away:
            consumer.reconnect()
        drain_until(consumer, lambda: consumer.counters.queues_lost and bench.writer.consumers(name))
        assert consumer.counters.queues_lost == 1
        assert consumer.reply_to == name
        if on_reply_loss == "fail":
            ((task_id, error),) = seen.errors
            assert task_id == "a"
            assert isinstance(error, ReplyLostError)
            assert str(name) in str(error)
            assert consumer.consumed_ids() == []
            consumer.consume_from("a")
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [("a", "SUCCESS", 1)]
        assert len(seen.errors) == (on_reply_loss == "fail")


class TestDeletedInTheMiddle:
    """The broker's answers and what it says of itself cross each other."""

    def test_while_somebody_asks_for_what_is_there(self, new_bench: NewBench, seen: Recorder) -> None:
        """That a consumer was ended came in the place of the answer, and out of the drain thread as a bug."""
        bench = new_bench("process")
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        consumer.consume_from("b")
        # It has come by then, and nobody has looked.
        bench.send("a", 1)
        bench.writer.delete(consumer.reply_to)
        told: list[Any] = []
        consumer.catch_up(told.append)
        drain_until(consumer, lambda: told and consumer.counters.queues_lost)
        assert seen.states == [("a", "SUCCESS", 1)]
        bench.send("b", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert consumer.counters.queues_lost == 1

    def test_before_what_came_is_acknowledged(
        self, new_bench: NewBench, seen: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On the new channel that acknowledgement was one of messages which the broker had not sent yet."""
        monkeypatch.setattr(replies, "_QUIET", 0.2)
        bench = new_bench("process")
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start(None, no_ack=False)
        consumer.consume_from_many("abcd")
        for task_id in "abc":
            bench.send(task_id, 1)
        drain_until(consumer, lambda: len(seen.states) == 3)
        bench.writer.delete(consumer.reply_to)
        drain_until(consumer, lambda: consumer.counters.queues_lost)
        due = time.monotonic() + 0.3
        drain_until(consumer, lambda: time.monotonic() > due)
        bench.send("d", 2)
        drain_until(consumer, lambda: len(seen.states) == 4)


class TestOneForEachTask:
    def test_their_shape(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        task_id = new_id()
        consumer.start(task_id)
        assert consumer.reply_to is None
        bench.writer.make(task_id, arguments=QUEUE_ARGUMENTS)
        assert bench.asked_for() == {task_id}

    def test_more_than_a_batch(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        ids = new_ids(130)
        consumer.start(None, no_ack=False)
        consumer.consume_from_many(ids)
        drain_until(consumer, lambda: bench.asked_for() == set(ids))
        for task_id in ids:
            bench.send(task_id, task_id)
        drain_until(consumer, lambda: len(seen.states) == 130)
        assert seen.values == {task_id: task_id for task_id in ids}
        drain_until(consumer, lambda: not any(bench.writer.exists(task_id) for task_id in ids))

    def test_a_queue_goes_when_its_task_has_ended_or_is_not_asked_for_any_more(
        self, new_bench: NewBench, seen: Recorder
    ) -> None:
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        ended, cancelled, kept = new_ids(3)
        consumer.start(kept, no_ack=False)
        consumer.consume_from_many([ended, cancelled])
        consumer.cancel_for(cancelled)
        bench.send(ended, 1)
        drain_until(consumer, lambda: seen.states)
        drain_until(consumer, lambda: not bench.writer.exists(ended) and not bench.writer.exists(cancelled))
        assert bench.writer.exists(kept)
        consumer.stop()
        wait_until(lambda: not bench.writer.exists(kept), "stop() to leave none behind")

    def test_one_of_a_batch_is_somebody_elses(
        self, new_bench: NewBench, seen: Recorder, hold: Callable[[str], Holder]
    ) -> None:
        """The refusal closes the channel, and with it every consumer there was; all but one are made again."""
        bench = new_bench("task")
        consumer = bench.consumer(seen, auto_reconnect=False)
        first, *batch = new_ids(12)
        foreign = batch[5]
        bench.writer.make(foreign, arguments=QUEUE_ARGUMENTS)
        hold(foreign)
        consumer.start(first, no_ack=False)
        # On its way, and not acknowledged, when the channel is closed.
        bench.send(first, "early", "PROGRESS")
        consumer.consume_from_many(batch)
        drain_until(consumer, lambda: seen.errors)
        ((task_id, error),) = seen.errors
        assert task_id == foreign
        assert isinstance(error, NotWatchableError)
        assert foreign in str(error)
        others = [first, *(task_id for task_id in batch if task_id != foreign)]
        for task_id in others:
            bench.send(task_id, task_id)
        drain_until(consumer, lambda: set(seen.values) == set(others) and len(seen.states) >= 12)
        assert seen.values == {task_id: task_id for task_id in others}
        # What was on its way when the channel was closed has come as well, and once.
        assert [result for _, _, result in seen.states].count("early") == 1
        assert len(seen.states) == 12
        assert bench.writer.consumers(foreign) == 1, "what is somebody else's is left alone"

    @pytest.mark.parametrize("reconnected", [False, True], ids=["at once", "after a reconnect"])
    @pytest.mark.parametrize("on_reply_loss", ["wait", "fail"])
    def test_one_is_deleted(self, new_bench: NewBench, seen: Recorder, reconnected: bool, on_reply_loss: str) -> None:
        bench = new_bench("task", on_reply_loss=on_reply_loss)
        consumer = bench.consumer(seen, auto_reconnect=False)
        deleted, other = new_ids(2)
        consumer.start(deleted, no_ack=False)
        consumer.consume_from(other)
        if reconnected:
            bench.cut(consumer)
            wait_until(lambda: bench.asked_for() == set(), "the consumers to be gone")
            consumer.reconnect()
        bench.writer.delete(deleted)
        drain_until(consumer, lambda: consumer.counters.queues_lost)
        if on_reply_loss == "fail":
            assert [task_id for task_id, _ in seen.errors] == [deleted]
            assert isinstance(seen.errors[0][1], ReplyLostError)
            consumer.consume_from(deleted)
        drain_until(consumer, lambda: bench.asked_for() == {deleted, other})
        bench.send(deleted, 1)
        bench.send(other, 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert consumer.counters.queues_lost == 1

    def test_one_is_deleted_while_away(self, new_bench: NewBench, seen: Recorder) -> None:
        bench = new_bench("task")
        consumer = bench.consumer(seen, auto_reconnect=False)
        deleted, other = new_ids(2)
        consumer.start(deleted, no_ack=False)
        consumer.consume_from(other)
        bench.cut(consumer)
        wait_until(lambda: bench.asked_for() == set(), "the consumers to be gone")
        bench.writer.delete(deleted)
        bench.send(other, 2)
        consumer.reconnect()
        drain_until(consumer, lambda: consumer.counters.queues_lost and bench.asked_for() >= {deleted})
        bench.send(deleted, 1)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert consumer.counters.queues_lost == 1
        assert seen.errors == []

    def test_one_of_another_shape_will_do(self, new_bench: NewBench, seen: Recorder) -> None:
        """Whoever sent the task may have other options, or an older release."""
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        odd, *others = new_ids(4)
        bench.writer.make(odd, arguments={"x-expires": 60_000})
        bench.send(odd, "early")
        consumer.start(others[0], no_ack=False)
        consumer.consume_from_many([others[1], odd, others[2]])
        for task_id in others:
            bench.send(task_id, task_id)
        drain_until(consumer, lambda: len(seen.states) == 4)
        assert seen.errors == []
        assert seen.values == {odd: "early", **{task_id: task_id for task_id in others}}
        drain_until(consumer, lambda: not bench.writer.exists(odd))

    @pytest.mark.parametrize(
        "foreign",
        [
            {},
            {"durable": False},
            {"auto_delete": True},
            {"auto_delete": True, "arguments": QUEUE_ARGUMENTS},
            {"arguments": {"x-queue-type": "quorum"}},
            {"arguments": {"x-max-priority": 5}},
        ],
        ids=str,
    )
    def test_one_that_is_not_for_replies_is_left_alone(
        self, new_bench: NewBench, seen: Recorder, foreign: dict[str, Any]
    ) -> None:
        """An id that comes from outside may be the name of a queue with tasks in it."""
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        other, declared = new_ids(2)
        # What the broker says of the second ends in the middle of its name.
        named = [new_id(), " but current is '1'" * 13]
        for name in named:
            bench.writer.make(name, **foreign)
            bench.send(name, "a task")
        consumer.start(other, no_ack=False)
        consumer.consume_from_many(named)
        drain_until(consumer, lambda: len(seen.errors) == 2)
        assert {task_id for task_id, error in seen.errors if isinstance(error, NotWatchableError)} == set(named)
        told: list[Any] = []
        consumer.declare_for(named[0], told.append)
        consumer.declare_for(declared, told.append)
        drain_until(consumer, lambda: len(told) == 2)
        assert isinstance(told[0], NotWatchableError)
        assert told[1] is None
        bench.send(other, 1)
        drain_until(consumer, lambda: seen.states)
        for name in named:
            consumer.cancel_for(name)
        consumer.stop()
        assert [bench.writer.counts(name) for name in named] == [(1, 0), (1, 0)]
        for name in named:
            bench.writer.delete(name)


class TestGhosts:
    """After a reconnect, the broker may believe that the consumer of before is still there."""

    def test_it_goes_after_a_while(self, new_bench: NewBench, seen: Recorder, hold: Callable[[str], Holder]) -> None:
        bench = new_bench("task")
        consumer = bench.consumer(seen)
        held, other = new_ids(2)
        consumer.start(held, no_ack=False)
        consumer.consume_from(other)
        bench.cut(consumer)
        wait_until(lambda: bench.asked_for() == set(), "the consumers to be gone")
        ghost = hold(held)
        consumer.reconnect()
        consumer.reconnect()
        bench.send(other, 1)
        drain_until(consumer, lambda: seen.states)
        assert seen.errors == []
        assert consumer.consumed_ids() == [held]
        ghost.let_go()
        bench.send(held, 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert seen.errors == []

    def test_of_an_id_that_is_watched_again(
        self, new_bench: NewBench, seen: Recorder, hold: Callable[[str], Holder]
    ) -> None:
        """It ended in the outage, and its queue is one of so many that there was no time to delete it yet."""
        bench = new_bench("task")
        consumer = bench.consumer(seen, auto_reconnect=False)
        ids = new_ids(120)
        again = ids[-1]
        consumer.start(None, no_ack=False)
        consumer.consume_from_many(ids)
        drain_until(consumer, lambda: bench.asked_for() == set(ids))
        bench.cut(consumer)
        wait_until(lambda: not bench.writer.consumers(again), "the consumer to be gone")
        ghost = hold(again)
        consumer.cancel_for_many(ids)
        consumer.reconnect()
        consumer.consume_from(again)
        bench.send(again, 1)
        drain_until(consumer, lambda: not any(bench.writer.exists(task_id) for task_id in ids[:-1]))
        assert seen.errors == []
        ghost.let_go()
        drain_until(consumer, lambda: seen.states)
        assert seen.states == [(again, "SUCCESS", 1)]
        assert seen.errors == []

    @pytest.mark.slow
    def test_it_stays(self, new_bench: NewBench, seen: Recorder, hold: Callable[[str], Holder]) -> None:
        """Three heartbeats later it is somebody else, whose queue it is."""
        bench = new_bench("task", heartbeat=1)
        consumer = bench.consumer(seen)
        held, other = new_ids(2)
        consumer.start(held, no_ack=False)
        consumer.consume_from(other)
        bench.cut(consumer)
        wait_until(lambda: bench.asked_for() == set(), "the consumers to be gone")
        hold(held)
        consumer.reconnect()
        drain_until(consumer, lambda: seen.errors)
        ((task_id, error),) = seen.errors
        assert task_id == held
        assert isinstance(error, NotWatchableError)
        bench.send(other, 1)
        drain_until(consumer, lambda: seen.states)
        assert bench.writer.consumers(held) == 1, "what is somebody else's is left alone"

    def test_an_id_that_is_new_gets_no_second_try(
        self, new_bench: NewBench, seen: Recorder, hold: Callable[[str], Holder]
    ) -> None:
        bench = new_bench("task", heartbeat=60)
        consumer = bench.consumer(seen)
        old, foreign = new_ids(2)
        consumer.start(old, no_ack=False)
        consumer.reconnect()
        bench.writer.make(foreign, arguments=QUEUE_ARGUMENTS)
        hold(foreign)
        consumer.consume_from(foreign)
        drain_until(consumer, lambda: seen.errors)
        assert consumer.consumed_ids() == [old]
        bench.send(old, 1)
        drain_until(consumer, lambda: seen.states)
