"""Watching replies that come through RabbitMQ, to one queue for each task."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, NotWatchableError, ResultWatcher, WatcherClosedError, WatchExpiredError
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids
from tests.support.rpc import Holder, leave_ghosts, port_of
from tests.support.sockets import connections
from tests.support.threads import in_threads

pytestmark = pytest.mark.rabbitmq

WAIT = 20


@pytest.fixture
def new_watcher(rabbitmq_url: str) -> Iterator[Callable[[], ResultWatcher]]:
    made: list[ResultWatcher] = []

    def make() -> ResultWatcher:
        made.append(ResultWatcher(rabbitmq_url, amqp=AMQPOptions(binding="task"), connect_timeout=WAIT))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


@pytest.fixture
def watcher(new_watcher: Callable[[], ResultWatcher]) -> ResultWatcher:
    return new_watcher()


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


def consumed(writer: ReplyWriter, *task_ids: str) -> None:
    """Wait until each has its queue, and its consumer."""
    wait_until(lambda: all(writer.consumers(task_id) for task_id in task_ids), "the queues to be consumed", WAIT)


def gone(writer: ReplyWriter, *task_ids: str) -> None:
    """Wait until none of them has a queue."""
    wait_until(lambda: not any(writer.exists(task_id) for task_id in task_ids), "the queues to be deleted", WAIT)


def test_before_and_after_the_watch(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    before, after = new_ids(2)
    watcher.declare_for(before)
    writer.write(before, before, 1, "PROGRESS")
    writer.write(before, before, 2)
    future = watcher.watch(after)
    consumed(writer, after)
    writer.write(after, after, 3)
    assert [meta.result for meta in watcher.updates(before, timeout=WAIT)] == [1, 2]
    assert future.result(WAIT) == 3
    gone(writer, before, after)


def test_a_second_watch_of_what_was_resolved(watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str) -> None:
    """Its queue is deleted by then, and not needed any more."""
    task_id = new_id()
    first = watcher.watch(task_id)
    consumed(writer, task_id)
    writer.write(task_id, task_id, 1)
    assert first.result(WAIT) == 1
    gone(writer, task_id)
    # Now it is even somebody else's.
    writer.make(task_id)
    holder = Holder(rabbitmq_url, task_id)
    assert watcher.watch(task_id).result(WAIT) == 1
    assert writer.consumers(task_id) == 1
    holder.let_go()
    writer.delete(task_id)


def test_a_watch_while_the_queue_is_being_deleted(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    task_id = new_id()
    for _ in range(50):
        assert watcher.watch(task_id).cancel()
    future = watcher.watch(task_id)
    assert watcher.declare_for(task_id) == task_id
    consumed(writer, task_id)
    writer.write(task_id, task_id, 1)
    assert future.result(WAIT) == 1
    gone(writer, task_id)
    assert watcher.stats().queues_lost == 0


def test_a_queue_that_is_made_again_as_soon_as_it_is_deleted(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    for task_id in new_ids(10):
        given_up = watcher.watch(task_id)
        consumed(writer, task_id)
        assert given_up.cancel()
        assert watcher.declare_for(task_id) == task_id
        future = watcher.watch(task_id)
        writer.write(task_id, task_id, 1)
        assert future.result(WAIT) == 1


def test_a_queue_goes_with_the_last_future(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    resolved, failed, cancelled, dropped, expired = (watcher.watch(task_id) for task_id in new_ids(5))
    ids = [future.task_id for future in (resolved, failed, cancelled, dropped, expired)]
    consumed(writer, *ids)
    short = watcher.watch(expired.task_id, lifetime=0.05)
    assert isinstance(short.exception(WAIT), WatchExpiredError)
    assert writer.exists(expired.task_id), "somebody is still interested"
    assert expired.cancel()
    writer.write(ids[0], ids[0], 1)
    writer.fail(ids[1], ids[1], KeyError("k"))
    assert cancelled.cancel()
    del dropped
    gc.collect()
    assert resolved.result(WAIT) == 1
    assert isinstance(failed.exception(WAIT), KeyError)
    gone(writer, *ids)


def test_close_leaves_no_queue_behind(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    futures = watcher.watch_many(new_ids(120))
    ids = [future.task_id for future in futures]
    consumed(writer, *ids)
    started = time.monotonic()
    watcher.close(timeout=WAIT)
    assert time.monotonic() - started < 10
    assert isinstance(futures[-1].exception(0), WatcherClosedError)
    # It does not wait for the broker to have done it all.
    gone(writer, *ids)


@pytest.mark.parametrize("place", [0, 7, 19], ids=["first", "middle", "last"])
def test_one_of_a_batch_is_watched_elsewhere(
    new_watcher: Callable[[], ResultWatcher], writer: ReplyWriter, place: int
) -> None:
    """The refusal is for that id alone, whatever else was watched before, with it or after it."""
    here, there = new_watcher(), new_watcher()
    ids = new_ids(20)
    early, late = new_ids(2)
    foreign = ids[place]
    elsewhere = there.watch(foreign)
    first = here.watch(early)
    consumed(writer, foreign, early)
    futures = here.watch_many(ids)
    last = here.watch(late)
    with pytest.raises(NotWatchableError, match=foreign):
        futures[place].result(WAIT)
    mine = [first, *(future for future in futures if future.task_id != foreign), last]
    consumed(writer, *(future.task_id for future in mine))
    for future in [*mine, elsewhere]:
        writer.write(future.task_id, future.task_id, future.task_id)
    assert [future.result(WAIT) for future in mine] == [future.task_id for future in mine]
    assert elsewhere.result(WAIT) == foreign
    assert here.stats().reconnects == 0
    gone(writer, *ids, early, late)


def test_it_can_be_watched_when_it_is_free_again(new_watcher: Callable[[], ResultWatcher], writer: ReplyWriter) -> None:
    here, there = new_watcher(), new_watcher()
    task_id = new_id()
    elsewhere = there.watch(task_id)
    consumed(writer, task_id)
    assert isinstance(here.watch(task_id).exception(WAIT), NotWatchableError)
    assert elsewhere.cancel()
    gone(writer, task_id)
    future = here.watch(task_id)
    consumed(writer, task_id)
    writer.write(task_id, task_id, 1)
    assert future.result(WAIT) == 1


def test_our_own_ghost(watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str) -> None:
    """The broker has not noticed that a connection is gone: it believes that somebody else has the queues."""
    port = port_of(rabbitmq_url)
    writer.close()
    futures = watcher.watch_many(new_ids(3))
    assert watcher.wait_ready(WAIT)
    wait_until(lambda: watcher.stats().subscribed == 3, "the three")
    # Only ours: the writer's connection has to live.
    ghosts = leave_ghosts(port)
    try:
        wait_until(lambda: watcher.stats().reconnects == 1, "the reconnect", WAIT)
        writer.reconnect()
        other = watcher.watch(new_id())
        consumed(writer, other.task_id)
        writer.write(other.task_id, other.task_id, 1)
        assert other.result(WAIT) == 1
        assert not any(future.done() for future in futures)
    finally:
        for ghost in ghosts:
            ghost.close()
    for future in futures:
        writer.write(future.task_id, future.task_id, future.task_id)
    assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]


def test_32_threads_on_160_ids(watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str) -> None:
    """Over one connection, in one thread."""
    port = port_of(rabbitmq_url)
    base = connections(port)
    ids = new_ids(160)

    def reply() -> None:
        for task_id in ids:
            consumed(writer, task_id)
            writer.write(task_id, task_id, task_id)

    writing = threading.Thread(target=reply)
    writing.start()

    def watch(number: int) -> list[Any]:
        futures = [watcher.watch(task_id) for task_id in ids[number::32]]
        return [future.result(WAIT * 2) for future in futures]

    results = in_threads(32, watch, timeout=WAIT * 3)
    writing.join()
    assert [results[number % 32][number // 32] for number in range(160)] == ids
    assert connections(port) - base == 1
    # Counted a moment after whoever waits for it is told.
    wait_until(lambda: watcher.stats().resolved == 160, "the last one to be counted")
    stats = watcher.stats()
    assert (stats.resolved, stats.pending, stats.reconnects, stats.queues_lost) == (160, 0, 0, 0)
    gone(writer, *ids)
