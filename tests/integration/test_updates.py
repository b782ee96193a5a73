"""updates(): the states of a task as an iterator."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from bgresults import ResultWatcher, WatcherClosedError, WouldDeadlockError
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids

WAIT = 20


def test_the_states_until_the_end(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    stream = watcher.updates(task_id, timeout=WAIT)
    # It watches already, before anybody asks for the first state.
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.write(task_id, {"done": 1}, "PROGRESS")
    writer.write(task_id, {"done": 2}, "PROGRESS")
    writer.write(task_id, "end")
    assert [(meta.status, meta.result) for meta in stream] == [
        ("PROGRESS", {"done": 1}),
        ("PROGRESS", {"done": 2}),
        ("SUCCESS", "end"),
    ]
    assert next(stream, None) is None


def test_a_failed_task_ends_with_its_state(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    writer.fail(task_id, ValueError("no"))
    (final,) = watcher.updates(task_id, timeout=WAIT)
    assert final.status == "FAILURE"
    assert isinstance(final.result, ValueError)


def test_the_timeout_is_for_each_gap(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    stream = watcher.updates(task_id, timeout=0.05)
    with pytest.raises(TimeoutError, match=task_id):
        next(stream)
    writer.write(task_id, "end")
    # Not `pending`: a future leaves before anybody is told.
    wait_until(lambda: watcher.stats().resolved == 1, "the result")
    assert next(stream).result == "end"


def test_a_library_error_is_raised(watcher: ResultWatcher) -> None:
    stream = watcher.updates(new_ids(1)[0], timeout=WAIT)
    watcher.close()
    with pytest.raises(WatcherClosedError):
        next(stream)
    assert next(stream, None) is None


def test_dropping_or_closing_it_ends_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    dropped, closed = (watcher.updates(task_id) for task_id in new_ids(2))
    wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
    del dropped
    gc.collect()
    wait_until(lambda: len(writer.channels()) == 1, "the end of the one that was dropped")
    closed.close()
    closed.close()
    assert list(closed) == []
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    assert watcher.pending == 0


def test_leaving_it_ends_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """Also if somebody still holds it."""
    with watcher.updates(new_ids(1)[0]) as stream:
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    wait_until(lambda: len(writer.channels()) == 0, "no channel")
    assert list(stream) == []


def test_not_on_the_drain_thread(watcher: ResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_ids(1)[0])
    stream = watcher.updates(new_ids(1)[0])
    errors: list[Any] = []
    asked = threading.Event()

    def ask(_: Future[Any]) -> None:
        try:
            next(stream)
        except WouldDeadlockError as error:
            errors.append(error)
        asked.set()

    future.add_done_callback(ask)
    writer.write(future.task_id, 1)
    assert asked.wait(WAIT)
    assert len(errors) == 1


def test_bad_arguments(watcher: ResultWatcher) -> None:
    with pytest.raises(ValueError, match="timeout"):
        watcher.updates("id", timeout=-1)
    with pytest.raises(TypeError, match="task_id"):
        watcher.updates(5)  # type: ignore[arg-type]
