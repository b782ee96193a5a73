"""Callbacks: they run on the drain thread, and nothing that they do hurts anybody else."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from bgresults import ResultWatcher, TaskMeta, WouldDeadlockError
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids

WAIT = 20


def test_a_callback_runs_on_the_drain_thread(watcher: ResultWatcher, writer: ResultWriter) -> None:
    names: list[str] = []
    future = watcher.watch(new_ids(1)[0])
    future.add_done_callback(lambda _: names.append(threading.current_thread().name))
    writer.write(future.task_id, 1)
    wait_until(lambda: names, "the callback")
    assert names == ["bgresults-redis"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_hurts_nobody(
    watcher: ResultWatcher, writer: ResultWriter, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def raising(_: Future[Any]) -> None:
        raise error("doh")

    first, second = (watcher.watch(task_id) for task_id in new_ids(2))
    called = threading.Event()
    first.add_done_callback(raising)
    first.add_done_callback(lambda _: called.set())
    writer.write(first.task_id, 1)
    assert called.wait(WAIT), "the callbacks after it"
    writer.write(second.task_id, 2)
    assert second.result(WAIT) == 2
    assert watcher.stats().callback_errors == 1
    assert watcher.stats().thread_alive
    assert "exception calling callback" in caplog.text


def test_a_future_that_only_a_callback_waits_for_is_kept(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    results: list[Any] = []
    watcher.watch(task_id).add_done_callback(lambda future: results.append(future.result()))
    gc.collect()
    assert watcher.pending == 1
    writer.write(task_id, "kept")
    wait_until(lambda: results == ["kept"], "the callback")
    assert watcher.pending == 0


def test_a_future_with_a_callback_is_let_go_of_when_it_ends(watcher: ResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_ids(1)[0])
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    writer.write(future.task_id, 1)
    assert done.wait(WAIT)
    reference = weakref.ref(future)
    del future
    wait_until(lambda: reference() is None, "the end of the future")


def test_watching_in_a_callback(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """A chain that a callback goes on with: also for the same id."""
    first, second = new_ids(2)
    results: list[Any] = []
    writer.store(second, "second")

    def again(_: Future[Any]) -> None:
        for task_id in (first, second):
            watcher.watch(task_id).add_done_callback(lambda future: results.append(future.result()))

    future = watcher.watch(first)
    future.add_done_callback(again)
    writer.write(first, "first")
    wait_until(lambda: sorted(results) == ["first", "second"], "both results")


def test_waiting_in_a_callback_is_refused(watcher: ResultWatcher, writer: ResultWriter) -> None:
    errors: list[BaseException | None] = []
    finished: list[Any] = []
    future, other = (watcher.watch(task_id) for task_id in new_ids(2))

    def wait(done: Future[Any]) -> None:
        finished.append(done.result(timeout=5))
        for ask in (lambda: other.result(5), lambda: other.exception(5), lambda: other.result(0), other.result):
            try:
                ask()
            except Exception as error:
                errors.append(error)

    future.add_done_callback(wait)
    writer.write(future.task_id, 1)
    wait_until(lambda: len(errors) == 4, "all four refusals")
    assert finished == [1], "a finished one may be asked"
    assert [isinstance(error, WouldDeadlockError) for error in errors] == [True, True, False, True]
    assert isinstance(errors[2], FutureTimeoutError)
    writer.write(other.task_id, 2)
    assert other.result(WAIT) == 2


def test_closing_in_a_callback(watcher: ResultWatcher, writer: ResultWriter) -> None:
    future, other = (watcher.watch(task_id) for task_id in new_ids(2))
    future.add_done_callback(lambda _: watcher.close())
    writer.write(future.task_id, 1)
    assert type(other.exception(WAIT)).__name__ == "WatcherClosedError"
    assert watcher.closed


def test_a_slow_callback_is_named_once(
    watcher: ResultWatcher, writer: ResultWriter, caplog: pytest.LogCaptureFixture
) -> None:
    def dawdling(_: Future[Any]) -> None:
        threading.Event().wait(0.15)

    futures = [watcher.watch(task_id) for task_id in new_ids(2)]
    # Messages come in order; what is read from the store may come after a later message.
    wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
    with caplog.at_level(logging.WARNING, logger="bgresults"):
        for future in futures:
            future.add_done_callback(dawdling)
            writer.write(future.task_id, 1)
        last = watcher.watch(new_ids(1)[0])
        writer.write(last.task_id, 1)
        last.result(WAIT)
    assert [record.getMessage() for record in caplog.records if "dawdling" in record.getMessage()] != []
    assert sum("dawdling" in record.getMessage() for record in caplog.records) == 1


def test_a_callback_that_forks(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """The child is the drain thread, in the middle of its loop, with the parent's connections in its hands."""
    future, other = (watcher.watch(task_id) for task_id in new_ids(2))
    children: list[int] = []

    def fork(_: Future[Any]) -> None:
        # The child returns into the loop, which must leave at once: as its last thread, the process ends with it.
        pid = os.fork()
        if pid:
            children.append(pid)

    future.add_done_callback(fork)
    writer.write(future.task_id, 1)
    wait_until(lambda: children, "the fork")
    deadline = time.monotonic() + WAIT
    while os.waitpid(children[0], os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(children[0], 9)
            pytest.fail("the child went on looping")
        threading.Event().wait(0.01)
    writer.write(other.task_id, 2)
    assert other.result(WAIT) == 2
    assert watcher.stats().reconnects == 0


def test_states_on_the_way(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    seen: list[TaskMeta] = []
    future = watcher.watch(task_id, on_update=seen.append)
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.write(task_id, {"pid": 1}, "STARTED")
    for number in range(3):
        writer.write(task_id, {"done": number}, "PROGRESS")
    wait_until(lambda: future.status == "PROGRESS", "a state")
    assert not future.done()
    writer.write(task_id, "end")
    assert future.result(WAIT) == "end"
    states = [(meta.status, meta.result) for meta in seen]
    assert states == [
        ("STARTED", {"pid": 1}),
        *(("PROGRESS", {"done": number}) for number in range(3)),
        ("SUCCESS", "end"),
    ]
    assert [meta.ready for meta in seen] == [False, False, False, False, True]


def test_a_stored_state_is_told_once(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """Read from the store and heard as a message, it is still one state."""
    task_id = new_ids(1)[0]
    writer.write(task_id, {"done": 1}, "PROGRESS")
    seen: list[Any] = []
    future = watcher.watch(task_id, on_update=lambda meta: seen.append(meta.result))
    wait_until(lambda: seen, "the stored state")
    writer.publish(task_id, {"done": 1}, "PROGRESS")
    writer.write(task_id, {"done": 2}, "PROGRESS")
    writer.write(task_id, "end")
    assert future.result(WAIT) == "end"
    assert seen == [{"done": 1}, {"done": 2}, "end"]
    assert watcher.stats().duplicate >= 1


def test_an_update_callback_that_raises(watcher: ResultWatcher, writer: ResultWriter) -> None:
    def raising(_: TaskMeta) -> None:
        raise SystemExit

    future = watcher.watch(new_ids(1)[0], on_update=raising)
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.write(future.task_id, 1, "PROGRESS")
    writer.write(future.task_id, 2)
    assert future.result(WAIT) == 2
    assert watcher.stats().callback_errors == 2
