"""A reply that is here already when its id is watched: the future has ended when watch() returns."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from kombu import serialization

from bgresults import ResultDecodeError, ResultWatcher, TaskRevokedError, TooManyPendingError, WatcherClosedError
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids, state_body
from tests.support.rpc import proxy_to, through
from tests.support.threads import in_threads

pytestmark = pytest.mark.rabbitmq

WAIT = 10.0

Kept = Callable[..., str]
# kombu has no types of its own.
_registry: Any = serialization.registry


@pytest.fixture
def watcher(rabbitmq_url: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as made:
        yield made


@pytest.fixture
def kept(watcher: ResultWatcher, rabbitmq_url: str) -> Iterator[Kept]:
    """Have a reply come that nobody watches; returns its id."""
    queue = watcher.reply_to
    assert queue is not None
    with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:

        def write(result: object, status: str = "SUCCESS") -> str:
            task_id = new_id()
            before = watcher.stats().buffered
            writer.write(queue, task_id, result, status)
            wait_until(lambda: watcher.stats().buffered > before, "the reply")
            return task_id

        yield write


def add_up(watcher: ResultWatcher) -> bool:
    stats = watcher.stats()
    return stats.watched == stats.pending + stats.resolved + stats.failed + stats.cancelled + stats.dropped


@pytest.mark.parametrize("value", [1, None, {"a": [1, 2]}, "r" * 5000])
def test_a_value(watcher: ResultWatcher, kept: Kept, value: object) -> None:
    future = watcher.watch(kept(value))
    assert future.done(), "without a turn of the drain thread"
    assert future.result(0) == value
    assert future.status == "SUCCESS"
    assert future.meta is not None
    stats = watcher.stats()
    assert (stats.watched, stats.resolved, stats.pending, stats.subscribed) == (1, 1, 0, 0)


def test_a_failure_and_a_revoked_task(watcher: ResultWatcher, kept: Kept) -> None:
    error = {"exc_type": "KeyError", "exc_module": "builtins", "exc_message": ["k"]}
    failed = watcher.watch(kept(error, "FAILURE"))
    revoked = watcher.watch(kept({"exc_type": "TaskRevokedError", "exc_message": ["revoked"]}, "REVOKED"))
    with pytest.raises(KeyError):
        failed.result(WAIT)
    with pytest.raises(TaskRevokedError):
        revoked.result(WAIT)
    wait_until(lambda: watcher.stats().failed == 2, "the counters")
    assert add_up(watcher)


@pytest.mark.parametrize("size", [10, 5000])
def test_everybody_has_a_value_of_its_own(watcher: ResultWatcher, kept: Kept, size: int) -> None:
    task_id = kept(["r" * size])
    values = in_threads(8, lambda _: watcher.watch(task_id).result(0))
    values.append(watcher.watch(task_id).result(0))
    assert values == [["r" * size]] * 9
    assert len({id(value) for value in values}) == 9
    assert watcher.stats().resolved == 9


def test_some_of_many(watcher: ResultWatcher, kept: Kept, rabbitmq_url: str) -> None:
    here, later = [kept(number) for number in range(3)], new_ids(2)
    futures = watcher.watch_many([here[0], later[0], here[1], later[1], here[2]])
    assert [future.done() for future in futures] == [True, False, True, False, True]
    assert watcher.pending == 2
    assert watcher.reply_to is not None
    with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
        for number, task_id in enumerate(later, 3):
            writer.write(watcher.reply_to, task_id, number)
        assert [future.result(WAIT) for future in futures] == [0, 3, 1, 4, 2]
    wait_until(lambda: add_up(watcher), "the counters")


def test_a_call_that_is_refused_is_not_counted(rabbitmq_url: str) -> None:
    """It hands out nothing, neither what is here nor what is not."""
    with ResultWatcher(rabbitmq_url, max_pending=1, connect_timeout=WAIT) as watcher:
        queue, task_id = watcher.reply_to, new_id()
        with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
            writer.write(queue, task_id, "v")
            wait_until(lambda: watcher.stats().buffered == 1, "the reply")
        before = watcher.stats()
        with pytest.raises(TooManyPendingError):
            watcher.watch_many([task_id, *new_ids(2)])
        assert watcher.stats() == before
        assert watcher.watch(task_id).result(0) == "v"


class Told(Exception):
    """Of a task; knows in which threads it was made."""

    threads: ClassVar[set[str]] = set()

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.threads.add(threading.current_thread().name)


def test_nothing_that_came_with_a_reply_runs_in_the_calling_thread(rabbitmq_url: str) -> None:
    """It may raise anything; and what a signal handler raises in the middle of it would be taken for that."""
    decoded: set[str] = set()

    def decode(body: Any) -> Any:
        decoded.add(threading.current_thread().name)
        return json.loads(body)

    _registry.register("of-the-users-own", json.dumps, decode, "application/x-own", "utf-8")
    try:
        with (
            ResultWatcher(rabbitmq_url, accept=["json", "of-the-users-own"], connect_timeout=WAIT) as watcher,
            contextlib.closing(ReplyWriter(rabbitmq_url)) as writer,
        ):
            queue, task_id, failed = watcher.reply_to, new_id(), new_id()
            writer.write_raw(queue, state_body(task_id, "SUCCESS", "r" * 5000), content_type="application/x-own")
            writer.fail(queue, failed, Told("no"))
            Told.threads.clear()
            wait_until(lambda: watcher.stats().buffered == 2, "the replies")
            for _ in range(2):
                assert watcher.watch(task_id).result(WAIT) == "r" * 5000
                with pytest.raises(Told):
                    watcher.watch(failed).result(WAIT)
            assert decoded == Told.threads == {"bgresults-rpc"}
    finally:
        _registry.unregister("of-the-users-own")


def test_updates_are_told_on_the_drain_thread(watcher: ResultWatcher, kept: Kept) -> None:
    told: list[tuple[str, bool]] = []
    future = watcher.watch(
        kept("v"),
        on_update=lambda meta: told.append((meta.status, threading.current_thread() is threading.main_thread())),
    )
    assert future.result(WAIT) == "v"
    assert told == [("SUCCESS", False)]


def test_what_came_before_the_end_is_not_left_behind(watcher: ResultWatcher, kept: Kept, rabbitmq_url: str) -> None:
    task_id = kept({"current": 1}, "PROGRESS")
    assert watcher.reply_to is not None
    with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
        writer.write(watcher.reply_to, task_id, "v")
    wait_until(lambda: watcher.stats().buffered == 2, "both replies")
    assert watcher.watch(task_id).result(WAIT) == "v"
    assert watcher.watch(task_id).done(), "the end alone is kept then"


def test_what_cannot_be_read(watcher: ResultWatcher, rabbitmq_url: str) -> None:
    assert watcher.reply_to is not None
    task_id = new_id()
    with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
        writer.write_raw(watcher.reply_to, b"\xff{", correlation_id=task_id)
        wait_until(lambda: watcher.stats().undecodable == 1, "the reply")
        with pytest.raises(ResultDecodeError):
            watcher.watch(task_id).result(WAIT)


def test_a_closed_watcher_hands_out_nothing(watcher: ResultWatcher, kept: Kept) -> None:
    task_id = kept("v")
    watcher.close()
    with pytest.raises(WatcherClosedError):
        watcher.watch(task_id)


def test_in_an_outage(rabbitmq_url: str) -> None:
    """It is here, so nobody has to wait for the broker."""
    with proxy_to(rabbitmq_url) as proxy, ResultWatcher(through(proxy, rabbitmq_url), connect_timeout=WAIT) as watcher:
        queue = watcher.reply_to
        assert queue is not None
        task_id = new_id()
        with contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
            writer.write(queue, task_id, "v")
            wait_until(lambda: watcher.stats().buffered == 1, "the reply")
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not watcher.stats().connected, "the outage")
        assert watcher.watch(task_id).result(0) == "v"
        proxy.accept()
        assert watcher.wait_ready(WAIT)
