"""Whoever keeps the interpreter, or the drain thread, busy: results are late then, and none is lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from bgresults import AMQPOptions, ResultWatcher
from tests.limits.backends import WAIT, Backend, backend_of
from tests.support.logs import Told
from tests.support.results import new_id, new_ids
from tests.support.waiting import wait_until


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Two that compute without end."""
    done = False

    def compute() -> None:
        while not done:
            sum(range(1000))

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    done = True
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("busy_threads")
def test_beside_threads_that_compute(watcher: ResultWatcher, backend: Backend, told: Told) -> None:
    """The interpreter is left as it was found: how often threads take turns is not ours to say."""
    interval = sys.getswitchinterval()
    futures = watcher.watch_many(new_ids(8))
    assert watcher.wait_ready(WAIT)
    for future in futures:
        backend.send(watcher, future.task_id, future.task_id)
    assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
    assert sys.getswitchinterval() == interval
    assert watcher.stats().reconnects == 0
    assert told.levels == []


def test_a_slow_callback(watcher: ResultWatcher, backend: Backend, told: Told) -> None:
    """It is named once, however often it is slow; the others are late, and that is all."""
    release = threading.Event()

    def dawdling(_: Future[Any]) -> None:
        release.wait(WAIT)

    first, second, other = (watcher.watch(task_id) for task_id in new_ids(3))
    assert watcher.wait_ready(WAIT)
    for future in (first, second):
        future.add_done_callback(dawdling)
    backend.send(watcher, first.task_id, 1)
    wait_until(first.done, "the first result")
    backend.send(watcher, other.task_id, "late")
    with pytest.raises(TimeoutError):
        other.result(0.15)
    release.set()
    assert other.result(WAIT) == "late"
    # Again, and as slow.
    release.clear()
    backend.send(watcher, second.task_id, 1)
    wait_until(second.done, "the second result")
    timer = threading.Timer(0.15, release.set)
    timer.start()
    last = watcher.watch(new_id())
    backend.send(watcher, last.task_id, "last")
    assert last.result(WAIT) == "last"
    timer.join()
    told.just("WARNING")
    assert "dawdling" in told.text


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_callback_that_outlasts_the_heartbeats(rabbitmq_url: str, told: Told) -> None:
    """The broker ends the connection meanwhile, and what it had sent comes again."""
    backend = backend_of(rabbitmq_url)
    with ResultWatcher(rabbitmq_url, amqp=AMQPOptions(heartbeat=1)) as watcher:
        release = threading.Event()
        first, other = watcher.watch(new_id()), watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        first.add_done_callback(lambda _: release.wait(WAIT))
        backend.send(watcher, first.task_id, 1)
        wait_until(first.done, "the first result")
        backend.send(watcher, other.task_id, "late")
        # Four heartbeats: nothing else tells that the broker has had enough.
        assert not release.wait(4.0)
        release.set()
        assert other.result(WAIT) == "late"
        last = watcher.watch(new_id())
        backend.send(watcher, last.task_id, "last")
        assert last.result(WAIT) == "last"
    backend.close()
