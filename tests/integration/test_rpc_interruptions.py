"""Something happens in the middle of something else: a connection is lost, a channel is closed, a reply is odd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest

from bgresults import ReplyLostError, ResultWatcher
from bgresults.consumers import ConnectionLost
from bgresults.consumers.rpc import ResultConsumer
from bgresults.testing import FaultProxy
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.consumers import Recorder, drain_until
from tests.support.results import new_id, new_ids
from tests.support.rpc import QUEUE_ARGUMENTS, Holder, RpcBench, leave_ghosts, proxy_to, through

pytestmark = pytest.mark.rabbitmq

WAIT = 20


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def proxy(rabbitmq_url: str) -> Iterator[FaultProxy]:
    with proxy_to(rabbitmq_url) as made:
        yield made


@pytest.fixture
def proxied_url(proxy: FaultProxy, rabbitmq_url: str) -> str:
    return through(proxy, rabbitmq_url)


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


class Bench(RpcBench):
    """Its consumers go through a proxy; its writer does not."""

    def __init__(self, url: str, proxied_url: str, binding: Literal["process", "task"], **options: Any) -> None:
        super().__init__(url, binding, **options)
        self.url = proxied_url


class Counting(ResultConsumer):
    connects = 0

    def reconnect(self) -> None:
        self.connects += 1
        super().reconnect()


def test_a_queue_that_was_never_declared_is_not_lost(
    rabbitmq_url: str, proxied_url: str, proxy: FaultProxy, seen: Recorder
) -> None:
    """The connection was lost on the way to the broker: there was no queue that could have held a reply."""
    bench = Bench(rabbitmq_url, proxied_url, "task", read_timeout=2.0, on_reply_loss="fail")
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        old, new = new_ids(2)
        consumer.start(old, no_ack=False)
        proxy.black_hole("to_server")
        consumer.consume_from(new)
        with pytest.raises(ConnectionLost):
            consumer.drain_events(0)
        proxy.reset()
        proxy.pass_through()
        assert not bench.writer.exists(new)
        wait_until(lambda: not bench.writer.consumers(old), "the broker to notice")
        consumer.reconnect()
        drain_until(consumer, lambda: bench.asked_for() == {old, new})
        bench.send(new, 1)
        drain_until(consumer, lambda: seen.states)
        assert (seen.errors, consumer.counters.queues_lost) == ([], 0)
    finally:
        bench.close()


def test_the_broker_has_done_what_it_was_asked_and_nobody_was_told(rabbitmq_url: str, seen: Recorder) -> None:
    """Then our own ghost consumes the queue."""
    bench = RpcBench(rabbitmq_url, "task")
    bench.writer.close()
    ghosts = []
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        task_id = new_id()
        consumer.start(None, no_ack=False)
        ghosts = leave_ghosts(bench.port)
        consumer.consume_from(task_id)
        with pytest.raises(ConnectionLost):
            consumer.drain_events(0)
        bench.writer.reconnect()
        wait_until(lambda: bench.writer.consumers(task_id) == 1, "the ghost")
        consumer.reconnect()
        drain_until(consumer, lambda: consumer.drain_events(0.05) == 0)
        assert seen.errors == []
        for ghost in ghosts:
            ghost.close()
        bench.send(task_id, 1)
        drain_until(consumer, lambda: seen.states)
        assert seen.errors == []
    finally:
        for ghost in ghosts:
            ghost.close()
        bench.close()


def test_a_queue_is_deleted_on_the_next_connection(rabbitmq_url: str, seen: Recorder) -> None:
    """The connection was lost when the broker was about to be told."""
    bench = RpcBench(rabbitmq_url, "task")
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        kept, cancelled = new_ids(2)
        consumer.start(None, no_ack=False)
        consumer.consume_from_many([kept, cancelled])
        drain_until(consumer, lambda: bench.asked_for() == {kept, cancelled})
        bench.cut(consumer)
        consumer.cancel_for(cancelled)
        with pytest.raises(ConnectionLost):
            consumer.drain_events(0)
        assert bench.writer.exists(cancelled)
        consumer.reconnect()
        drain_until(consumer, lambda: not bench.writer.exists(cancelled))
        assert bench.writer.exists(kept)
    finally:
        bench.close()


def test_nothing_has_been_caught_up_with_on_a_connection_that_is_lost(rabbitmq_url: str, seen: Recorder) -> None:
    """The broker had been asked, and what it sent before its answer comes again."""
    bench = RpcBench(rabbitmq_url, "process")
    known_by_then: list[dict[str, Any]] = []
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        bench.send("a", 1)
        consumer.catch_up(lambda _: known_by_then.append(seen.values))
        # A started one asks, and handles nothing.
        consumer.start(None, no_ack=False)
        bench.cut(consumer)
        consumer.reconnect()
        drain_until(consumer, lambda: known_by_then)
        assert known_by_then == [{"a": 1}]
    finally:
        bench.close()


def test_a_farewell_that_failed_is_not_made_up_for(rabbitmq_url: str, seen: Recorder) -> None:
    """Started again, a consumer wants what is in its queues."""
    bench = RpcBench(rabbitmq_url, "task")
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        task_id = new_id()
        consumer.start(task_id, no_ack=False)
        bench.cut(consumer)
        consumer.stop()
        bench.send(task_id, 1)
        consumer.start(None, no_ack=False)
        drain_until(consumer, lambda: seen.states)
        assert (seen.states, consumer.counters.queues_lost) == ([(task_id, "SUCCESS", 1)], 0)
    finally:
        bench.close()


def test_our_former_self_gets_no_replies(rabbitmq_url: str, seen: Recorder) -> None:
    """The link was dead, and the broker has not noticed: it would share the replies out between the two of us."""
    bench = RpcBench(rabbitmq_url, "process")
    ghosts = []
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        ids = new_ids(20)
        consumer.start(None, no_ack=False)
        consumer.consume_from_many(ids)
        bench.writer.close()
        ghosts = leave_ghosts(bench.port)
        with pytest.raises(ConnectionLost):
            drain_until(consumer, lambda: False)
        bench.writer.reconnect()
        consumer.reconnect()
        assert consumer.reply_to is not None
        assert bench.writer.consumers(consumer.reply_to) == 2
        for task_id in ids:
            bench.writer.write(consumer.reply_to, task_id, 1)
        # Sooner than the broker finds out about the other one.
        drain_until(consumer, lambda: len(seen.states) == len(ids), timeout=8)
        assert bench.writer.consumers(consumer.reply_to) == 2
    finally:
        for ghost in ghosts:
            ghost.close()
        bench.close()


def test_the_loss_of_a_queue_is_told_whenever_the_connection_is_lost_again(
    rabbitmq_url: str, proxied_url: str, proxy: FaultProxy, seen: Recorder
) -> None:
    """It is found out at a reconnect, by asking, which is the last time that anybody can: the queue is made anew."""
    bench = Bench(rabbitmq_url, proxied_url, "process", on_reply_loss="fail")
    try:
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start("a", no_ack=False)
        name = consumer.reply_to
        before = proxy.passed("to_client")
        consumer.reconnect()
        # What the broker says while we connect, ask for the queue and consume; a little more if there is no queue.
        whole = proxy.passed("to_client") - before
        told = interrupted = 0
        for count in range(whole - 120, whole + 120, 12):
            consumer.consume_from("a")
            proxy.cut()
            wait_until(lambda: not bench.writer.consumers(name), "the consumer to be gone")
            bench.writer.delete(name)
            proxy.drop_after(count)
            try:
                consumer.reconnect()
            except ConnectionLost:
                interrupted += 1
            proxy.pass_through()
            consumer.reconnect()
            told += 1
            assert [task_id for task_id, _ in seen.errors] == ["a"] * told
            assert isinstance(seen.errors[-1][1], ReplyLostError)
        assert 5 < interrupted < told
        assert consumer.counters.queues_lost == told
    finally:
        bench.close()


def test_a_callback_that_asks_for_what_is_somebody_elses(rabbitmq_url: str, seen: Recorder) -> None:
    """The channel is closed in the middle of handling; nothing that came on it may be acknowledged on the next one."""
    bench = RpcBench(rabbitmq_url, "task")
    foreign, *ids = new_ids(6)
    bench.writer.make(foreign, arguments=QUEUE_ARGUMENTS)
    holder = Holder(rabbitmq_url, foreign)
    try:
        consumer = bench.consumer(seen, Counting)
        assert isinstance(consumer, Counting)
        consumer.start(None, no_ack=False)
        consumer.consume_from_many(ids)
        usual = seen.on_state

        def ask_for_more(task_id: str, mapping: dict[str, Any]) -> None:
            usual(task_id, mapping)
            consumer.consume_from(foreign)

        consumer._on_state = ask_for_more
        for task_id in ids:
            bench.send(task_id, task_id)
        drain_until(consumer, lambda: set(seen.values) == set(ids) and consumer.drain_events(0.2) == 0)
        assert {task_id for task_id, _ in seen.errors} == {foreign}
        assert len(seen.states) == 5
        assert consumer.connects == 1
    finally:
        holder.delete()
        bench.close()


def test_what_is_here_is_passed_on_during_an_outage(proxied_url: str, proxy: FaultProxy, writer: ReplyWriter) -> None:
    with ResultWatcher(proxied_url) as watcher:
        resolved, buffered, unknown = new_ids(3)
        writer.write(watcher.reply_to, buffered, 1)
        future = watcher.watch(resolved)
        writer.write(watcher.reply_to, resolved, 2)
        assert future.result(WAIT) == 2
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not watcher.connected, "the outage")
        later = watcher.watch(unknown)
        assert watcher.watch(resolved).result(WAIT) == 2
        assert watcher.watch(buffered).result(WAIT) == 1
        assert not watcher.connected
        proxy.accept()
        writer.write(watcher.reply_to, unknown, 3)
        assert later.result(WAIT) == 3


def test_an_odd_reply_does_not_take_the_place_of_a_result(rabbitmq_url: str, writer: ReplyWriter) -> None:
    with ResultWatcher(rabbitmq_url) as watcher:
        resolved, buffered = new_ids(2)
        future = watcher.watch(resolved)
        for task_id in (resolved, buffered):
            writer.write(watcher.reply_to, task_id, 1)
            writer.write_raw(watcher.reply_to, b"{", correlation_id=task_id)
        assert future.result(WAIT) == 1
        wait_until(lambda: watcher.stats().undecodable == 2, "the odd ones")
        assert watcher.watch(resolved).result(WAIT) == 1
        assert watcher.watch(buffered).result(WAIT) == 1
