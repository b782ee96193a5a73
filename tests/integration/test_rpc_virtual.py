"""Replies through transports of kombu other than AMQP: in memory, and over Redis lists."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, ResultDecodeError, ResultWatcher, WatcherClosedError
from bgresults.consumers.rpc import ResultConsumer
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.consumers import Recorder, drain_until
from tests.support.forks import c_fork_with_child_hook, run_in_child
from tests.support.results import new_id, new_ids
from tests.support.sockets import connections
from tests.support.threads import in_threads

WAIT = 20

NewWatcher = Callable[..., ResultWatcher]


@pytest.fixture(params=["memory", "redis"])
def kombu_url(request: pytest.FixtureRequest) -> str:
    """As workers have it."""
    if request.param == "memory":
        return "memory://"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url(db=3)


@pytest.fixture
def new_watcher() -> Iterator[NewWatcher]:
    """``new_watcher(kombu_url, **options)``; closed at the end of the test."""
    made: list[ResultWatcher] = []

    def make(kombu_url: str, **options: Any) -> ResultWatcher:
        made.append(ResultWatcher(f"rpc+{kombu_url}", amqp=AMQPOptions(**options)))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


@pytest.fixture
def writer(kombu_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(kombu_url)
    yield made
    made.close()


@pytest.fixture
def watcher(new_watcher: NewWatcher, kombu_url: str) -> ResultWatcher:
    return new_watcher(kombu_url)


def test_memory_needs_no_prefix() -> None:
    with ResultWatcher("memory://") as watcher:
        writer = ReplyWriter("memory://")
        future = watcher.watch(new_id())
        writer.write(watcher.reply_to, future.task_id, 1)
        assert future.result(WAIT) == 1
        writer.close()


def test_before_and_after_the_watch(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    before, after, failed = new_ids(3)
    writer.write(watcher.reply_to, before, 1, "PROGRESS")
    writer.write(watcher.reply_to, before, 2)
    future = watcher.watch(after)
    writer.write(watcher.reply_to, after, 3)
    writer.fail(watcher.reply_to, failed, KeyError("k"))
    assert future.result(WAIT) == 3
    assert isinstance(watcher.watch(failed).exception(WAIT), KeyError)
    assert [meta.result for meta in watcher.updates(before, timeout=WAIT)] == [1, 2]
    assert watcher.watch(after).result(WAIT) == 3


def test_every_state_in_order(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    task_id = new_id()
    stream = watcher.updates(task_id, timeout=WAIT)
    for number in range(30):
        writer.write(watcher.reply_to, task_id, number, "PROGRESS")
    writer.write(watcher.reply_to, task_id, "end")
    assert [meta.result for meta in stream] == [*range(30), "end"]


def test_what_cannot_be_read_hurts_only_its_own_id(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    bad, good = watcher.watch(new_id()), watcher.watch(new_id())
    writer.write_raw(watcher.reply_to, b"{", correlation_id=bad.task_id)
    writer.write_raw(watcher.reply_to, b"{")
    writer.write(watcher.reply_to, good.task_id, 1)
    assert good.result(WAIT) == 1
    assert isinstance(bad.exception(WAIT), ResultDecodeError)


def test_more_than_the_window(new_watcher: NewWatcher, kombu_url: str, writer: ReplyWriter) -> None:
    """What is never acknowledged would take room in it, until nothing comes any more."""
    watcher = new_watcher(kombu_url, prefetch=5)
    task_id = new_id()
    future = watcher.watch(task_id)
    for number in range(50):
        writer.write(watcher.reply_to, task_id, number, "PROGRESS")
        writer.write(watcher.reply_to, new_id(), number)
    writer.write(watcher.reply_to, task_id, "end")
    assert future.result(WAIT) == "end"
    assert watcher.stats().buffered == 50


def test_one_queue_for_each_task(new_watcher: NewWatcher, kombu_url: str, writer: ReplyWriter) -> None:
    watcher = new_watcher(kombu_url, binding="task")
    early, late = new_ids(2)
    assert watcher.declare_for(early) == early
    writer.write(early, early, 1)
    future = watcher.watch(late)
    assert watcher.declare_for(late) == late
    writer.write(late, late, 2)
    assert watcher.watch(early).result(WAIT) == 1
    assert future.result(WAIT) == 2


def test_32_threads(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    ids = new_ids(320)
    writing = threading.Thread(target=writer.write_all, args=(watcher.reply_to, ids))
    writing.start()
    results = in_threads(32, lambda number: [watcher.watch(task_id).result(WAIT) for task_id in ids[number::32]])
    writing.join()
    assert [results[number % 32][number // 32] for number in range(320)] == ids


def test_a_watch_while_idle_is_prompt(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    """Neither the watch nor the reply waits for a tick of a second."""
    assert watcher.wait_ready(WAIT)
    taken = []
    for _ in range(15):
        task_id = new_id()
        started = time.monotonic()
        future = watcher.watch(task_id)
        writer.write(watcher.reply_to, task_id, 1)
        assert future.result(WAIT) == 1
        taken.append(time.monotonic() - started)
        # Asleep again.
        wait_until(lambda: watcher.stats().subscribed == 0, "rest")
    assert sorted(taken)[7] < 0.5


def test_an_idle_watcher_uses_little_cpu(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    futures = watcher.watch_many(new_ids(100))
    # There is nothing to be done for a watch until a message comes.
    another = watcher.watch(new_id())
    writer.write(watcher.reply_to, another.task_id, 1)
    assert another.result(WAIT) == 1
    wait_until(lambda: watcher.stats().subscribed == 100, "the watches")
    thread = next(thread for thread in threading.enumerate() if thread.name == "bgresults-rpc")
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    assert not threading.Event().wait(2.0)
    assert time.clock_gettime(clock) - before < 0.5
    assert watcher.pending == len(futures)


def test_close_is_prompt(watcher: ResultWatcher) -> None:
    future = watcher.watch(new_id())
    assert watcher.reply_to is not None
    started = time.monotonic()
    watcher.close(timeout=WAIT)
    assert time.monotonic() - started < 5
    assert isinstance(future.exception(0), WatcherClosedError)


def test_close_leaves_nothing_in_redis(new_watcher: NewWatcher, redis_server: RedisServer) -> None:
    url = redis_server.url(db=4)
    writer = ReplyWriter(url)
    with redis_server.client(db=4) as client:
        watcher = new_watcher(url)
        queue = watcher.reply_to
        assert queue is not None
        futures = watcher.watch_many(new_ids(2))
        writer.write(queue, futures[0].task_id, 1)
        assert futures[0].result(WAIT) == 1
        watcher.close()
        assert list(client.scan_iter(f"*{queue}*")) == []
        wait_until(lambda: client.hlen("unacked") == 0, "nothing to be unacknowledged")
    writer.close()


def test_asking_for_what_is_there(kombu_url: str, writer: ReplyWriter) -> None:
    """Over Redis a queue without a message does not exist, which is no reason to connect anew, again and again."""
    seen = Recorder()
    consumer = ResultConsumer(f"rpc+{kombu_url}", on_state=seen.on_state, auto_reconnect=False)
    told: list[Any] = []
    try:
        consumer.start("a")
        consumer.catch_up(told.append)
        drain_until(consumer, lambda: told == [None])
        writer.write(consumer.reply_to, "a", 1)
        consumer.catch_up(told.append)
        drain_until(consumer, lambda: told == [None, None] and seen.states == [("a", "SUCCESS", 1)])
    finally:
        consumer.stop()


def test_the_server_restarts(new_watcher: NewWatcher, own_redis: RedisServer) -> None:
    url = own_redis.url()
    watcher = new_watcher(url)
    before, after = watcher.watch(new_id()), watcher.watch(new_id())
    queue = watcher.reply_to
    writer = ReplyWriter(url)
    writer.write(queue, before.task_id, 1)
    assert before.result(WAIT) == 1
    writer.close()
    own_redis.stop()
    wait_until(lambda: not watcher.connected, "the loss to be noticed", WAIT)
    assert not after.done()
    own_redis.start()
    assert watcher.wait_ready(WAIT)
    assert watcher.reply_to == queue
    writer = ReplyWriter(url)
    writer.write(queue, after.task_id, 2)
    assert after.result(WAIT) == 2
    assert watcher.stats().reconnects == 1
    writer.close()


# Not the fork that no hook hears of: the thread wakes up all the time here, so it may well be waiting for the
# interpreter when the fork is made. Then the child's interpreter waits for that thread, which it does not have.
@pytest.mark.parametrize("fork", [os.fork, c_fork_with_child_hook], ids=["fork", "c_fork_with_child_hook"])
def test_a_forked_child_lets_go(new_watcher: NewWatcher, own_redis: RedisServer, fork: Callable[[], int]) -> None:
    """It closes the inherited sockets, has a queue of its own, and the parent notices nothing."""
    url = own_redis.url()
    watcher = new_watcher(url)
    parents = watcher.watch(new_id())
    queue = watcher.reply_to
    # The connection on which it waits for replies is made after all others.
    first = watcher.watch(new_id())
    writer = ReplyWriter(url)
    writer.write(queue, first.task_id, 1)
    assert first.result(WAIT) == 1
    writer.close()
    mine = connections(own_redis.port)
    assert mine

    def child() -> None:
        # The first touch of the watcher is enough, where no hook has run.
        assert watcher.pending == 0
        assert connections(own_redis.port) == 0
        future = watcher.watch(new_id())
        assert watcher.reply_to not in {None, queue}
        writer = ReplyWriter(url)
        writer.write(watcher.reply_to, future.task_id, "for the child")
        assert future.result(WAIT) == "for the child"
        watcher.close()

    assert run_in_child(child, fork=fork) == 0
    assert connections(own_redis.port) == mine
    writer = ReplyWriter(url)
    writer.write(queue, parents.task_id, "for the parent")
    assert parents.result(WAIT) == "for the parent"
    assert watcher.stats().reconnects == 0
    writer.close()
