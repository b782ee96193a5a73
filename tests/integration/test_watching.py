"""Watching: one id, many ids, many threads, and what it costs the server."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from bgresults import ResultWatcher, TooManyPendingError, WatchExpiredError
from bgresults.testing.servers import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids, state_body
from tests.support.sockets import connections
from tests.support.threads import in_threads

WAIT = 20


def test_a_result_that_comes_after_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    future = watcher.watch(task_id)
    before = (future.status, future.meta, future.done())
    assert before == (None, None, False)
    writer.write(task_id, {"rows": [1, 2]})
    assert future.result(WAIT) == {"rows": [1, 2]}
    assert future.task_id == task_id
    assert future.status == "SUCCESS"
    assert future.meta is not None
    assert future.meta.result == {"rows": [1, 2]}
    assert future.meta.ready


def test_a_result_that_was_there_before_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    writer.store(task_id, 7)
    assert watcher.watch(task_id).result(WAIT) == 7
    # And once more, by the same watcher.
    assert watcher.watch(task_id).result(WAIT) == 7


def test_a_message_alone_is_enough(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """The stored value may have expired by the time it is read."""
    task_id = new_ids(1)[0]
    future = watcher.watch(task_id)
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.publish(task_id, 8)
    assert future.result(WAIT) == 8


def test_ids_come_in_several_shapes(watcher: ResultWatcher, writer: ResultWriter) -> None:
    class Result:
        id = str(uuid.uuid4())

    number = uuid.uuid4()
    writer.write(str(number), 1)
    writer.write(Result.id, 2)
    writer.write("ünï", 3)
    assert watcher.watch(number).result(WAIT) == 1
    assert watcher.watch(Result()).result(WAIT) == 2
    assert watcher.watch("ünï").result(WAIT) == 3


def test_constructing_touches_nothing(redis_server: RedisServer) -> None:
    threads = threading.active_count()
    watcher = ResultWatcher("redis://127.0.0.1:1/0")
    assert threading.active_count() == threads
    assert watcher.stats().state == "idle"
    assert not watcher.connected
    assert not watcher.closed
    assert watcher.reply_to is None
    watcher.close()
    assert watcher.closed


def test_fifty_threads_on_one_id(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    futures = in_threads(50, lambda _: watcher.watch(task_id))
    assert len(set(map(id, futures))) == 50
    wait_until(lambda: len(writer.channels()) == 1, "one subscription for all")
    writer.write(task_id, "for all")
    assert in_threads(50, lambda number: futures[number].result(WAIT)) == ["for all"] * 50
    assert watcher.pending == 0


def test_two_hundred_threads_on_two_hundred_ids(
    watcher: ResultWatcher, writer: ResultWriter, redis_server: RedisServer
) -> None:
    """Two connections, one thread, as many channels as ids; and none after."""
    ids = new_ids(200)
    base = connections(redis_server.port)
    before = {thread for thread in threading.enumerate() if thread.name.startswith("bgresults-")}
    results: list[Any] = [None] * 200

    def wait_for(number: int) -> None:
        results[number] = watcher.watch(ids[number]).result(WAIT)

    threads = [threading.Thread(target=wait_for, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(writer.channels()) == 200, "200 channels")
    assert watcher.stats().subscribed == 200
    assert connections(redis_server.port) - base == 2
    drainers = {thread for thread in threading.enumerate() if thread.name.startswith("bgresults-")} - before
    assert len(drainers) == 1
    writer.write_all({task_id: state_body(task_id, result=number) for number, task_id in enumerate(ids)})
    for thread in threads:
        thread.join(WAIT)
    assert results == list(range(200))
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    assert connections(redis_server.port) - base == 2


@pytest.mark.parametrize("before", [True, False], ids=["stored before", "published after"])
def test_ten_thousand_ids_in_one_call(watcher: ResultWatcher, writer: ResultWriter, before: bool) -> None:
    ids = new_ids(10_000)
    payloads = {task_id: state_body(task_id, result=number) for number, task_id in enumerate(ids)}
    if before:
        writer.write_all(payloads)
    futures = watcher.watch_many(ids)
    if not before:
        writer.write_all(payloads)
    assert [future.result(WAIT) for future in futures] == list(range(10_000))
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    stats = watcher.stats()
    assert (stats.watched, stats.resolved, stats.pending) == (10_000, 10_000, 0)


def test_a_large_body(watcher: ResultWatcher, writer: ResultWriter) -> None:
    text = "x" * (8 * 1024 * 1024)
    after, stored = new_ids(2)
    future = watcher.watch(after)
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.write(after, text)
    writer.store(stored, text)
    assert future.result(WAIT) == text
    assert watcher.watch(stored).result(WAIT) == text


def test_a_dropped_future_is_no_longer_watched(watcher: ResultWatcher, writer: ResultWriter) -> None:
    futures = watcher.watch_many(new_ids(100))
    kept = futures[0]
    wait_until(lambda: len(writer.channels()) == 100, "100 channels")
    del futures
    wait_until(lambda: len(writer.channels()) == 1, "the channel of the one that is kept")
    assert watcher.pending == 1
    writer.write(kept.task_id, 1)
    assert kept.result(WAIT) == 1
    assert watcher.stats().dropped == 99


def test_a_cancelled_future_is_no_longer_watched(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    cancelled, other = watcher.watch(task_id), watcher.watch(task_id)
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    assert cancelled.cancel()
    assert watcher.pending == 1
    writer.write(task_id, 5)
    assert other.result(WAIT) == 5
    assert cancelled.cancelled()
    last = watcher.watch(new_ids(1)[0])
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    assert last.cancel()
    assert watcher.pending == 0
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    wait_until(lambda: watcher.stats().cancelled == 2, "both counted")


def test_an_expired_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    short, long = watcher.watch(task_id, lifetime=0.1), watcher.watch(task_id)
    with pytest.raises(WatchExpiredError, match=task_id) as caught:
        short.result(WAIT)
    assert isinstance(caught.value, TimeoutError)
    assert short.done()
    assert not long.done()
    writer.write(task_id, 6)
    assert long.result(WAIT) == 6
    alone = watcher.watch(new_ids(1)[0], lifetime=0.1)
    assert isinstance(alone.exception(WAIT), WatchExpiredError)
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    assert watcher.pending == 0
    # Counted a moment after whoever waits for it is told.
    wait_until(lambda: watcher.stats().expired == 2, "both to be counted")


def test_result_waits_as_long_as_it_is_told(watcher: ResultWatcher) -> None:
    """No rounding to whole seconds, and asking again is fine."""
    assert watcher.wait_ready(WAIT)
    future = watcher.watch(new_ids(1)[0])

    def waited(timeout: float) -> float:
        started = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            future.result(timeout)
        taken = time.monotonic() - started
        assert taken >= timeout
        assert isinstance(caught.value, FutureTimeoutError), "two classes in Python 3.10"
        return taken

    for timeout in (0, 0.05, 0.3):
        # Not each time: the machine may have other things to do for a second.
        assert any(waited(timeout) < timeout + 1.0 for _ in range(3))
    assert not future.done()


def test_back_pressure(redis_server: RedisServer, key_prefix: str, writer: ResultWriter) -> None:
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix, max_pending=10) as watcher:
        futures = watcher.watch_many(new_ids(8))
        with pytest.raises(TooManyPendingError, match="10"):
            watcher.watch_many(new_ids(3))
        assert watcher.pending == 8
        futures += watcher.watch_many(new_ids(2))
        with pytest.raises(TooManyPendingError):
            watcher.watch(futures[0].task_id)
        wait_until(lambda: len(writer.channels()) == 10, "the ten")
        # Dropped futures make room at once, not in the thread's next turn.
        del futures[:]
        assert len(watcher.watch_many(new_ids(10))) == 10
    wait_until(lambda: len(writer.channels()) == 0, "no channel")


def test_watching_an_id_again_while_its_unsubscribe_is_on_its_way(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    for number in range(200):
        if number % 3 == 0:
            # Only stored: nothing but the read that comes with this very watch can find it.
            writer.store(task_id, number)
            assert watcher.watch(task_id).result(WAIT) == number
            writer.client.delete(writer.key(task_id))
        else:
            assert watcher.watch(task_id).cancel()
    future = watcher.watch(task_id)
    writer.write(task_id, "last")
    assert future.result(WAIT) == "last"
    wait_until(lambda: len(writer.channels()) == 0, "no channel")


def test_counters_add_up(watcher: ResultWatcher, writer: ResultWriter) -> None:
    resolved, failed, cancelled, expired, dropped, pending = (watcher.watch(task_id) for task_id in new_ids(6))
    short = watcher.watch(expired.task_id, lifetime=0.05)
    writer.write(resolved.task_id, 1)
    writer.fail(failed.task_id, KeyError("k"))
    assert resolved.result(WAIT) == 1
    assert isinstance(failed.exception(WAIT), KeyError)
    cancelled.cancel()
    assert isinstance(short.exception(WAIT), WatchExpiredError)
    del dropped
    wait_until(lambda: watcher.stats().dropped == 1 and watcher.stats().cancelled == 1, "the counters")
    stats = watcher.stats()
    assert (stats.watched, stats.resolved, stats.failed, stats.expired, stats.pending) == (7, 1, 1, 1, 2)
    assert stats.watched == stats.pending + sum(
        (stats.resolved, stats.failed, stats.cancelled, stats.dropped, stats.expired)
    )
    assert not pending.done()


@pytest.mark.allow_leaks("descriptors")
def test_an_idle_watcher_uses_no_cpu(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """1000 pending ids, and for two seconds at most a handful of wake-ups' worth of CPU time."""
    futures = watcher.watch_many(new_ids(1000))
    wait_until(lambda: len(writer.channels()) == 1000, "the subscriptions")
    wait_until(lambda: watcher.stats().state == "draining", "rest")
    thread = next(thread for thread in threading.enumerate() if thread.name == "bgresults-redis")
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    assert not threading.Event().wait(2.0)
    assert time.clock_gettime(clock) - before < 0.02
    assert len(futures) == watcher.pending


def test_what_is_no_callback(watcher: ResultWatcher) -> None:
    with pytest.raises(TypeError, match="on_update must be callable or None, not int"):
        watcher.watch("a", on_update=5)  # type: ignore[arg-type]
    assert watcher.pending == 0
