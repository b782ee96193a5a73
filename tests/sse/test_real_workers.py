"""Tasks of a stock Celery worker, as a page sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from tests.sse.reading import KINDS, Follower
from tests.support.results import new_id
from tests.support.workers import TaskWorker, WorkerPool


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    """Tasks and results in the shared Redis."""
    return worker_for()


@pytest.fixture
def watcher(worker: TaskWorker) -> Iterator[ResultWatcher]:
    with ResultWatcher(worker.result_url) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_progress_and_a_result(worker: TaskWorker, watcher: ResultWatcher, kind: str) -> None:
    task_id = new_id()
    with Follower(kind, watcher, task_id, timeout=40) as stream:
        worker.send("progress", 3, task_id=task_id)
        *states, end = stream.events()
    assert states[-1].json["state"] == end.json["state"] == "SUCCESS"
    assert "reason" not in end.json
    assert {event.json["state"] for event in states} <= {"STARTED", "PROGRESS", "SUCCESS"}


def test_an_error(worker: TaskWorker, watcher: ResultWatcher) -> None:
    with Follower("sse", watcher, worker.send("fail", "ValueError", "no such account"), timeout=40) as stream:
        *_, end = stream.events()
    assert (end.json["success"], end.json["result"]) == (False, "ValueError: no such account")


def test_an_attempt_that_is_repeated(worker: TaskWorker, watcher: ResultWatcher) -> None:
    """When a worker tries again is told in the words that celery-progress looks for."""
    task_id = new_id()
    with Follower("sse", watcher, task_id, timeout=40) as stream:
        worker.send("retry_once", "value", task_id=task_id)
        events = stream.events()
    assert events[-1].json["result"] == "value"
    told = [event.json["result"] for event in events if event.json["state"] == "RETRY"]
    # It may be over before anybody has subscribed.
    assert told in ([], [{"next_retry_seconds": 0.5, "message": "ConnectionError: not yet"}])
