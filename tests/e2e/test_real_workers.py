"""Stock Celery workers write, a watcher reads: every state, every serializer."""

from __future__ import annotations

import datetime
import decimal
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import celery
import pytest

from bgresults import ResultWatcher, TaskFailedError, TaskRevokedError
from tests.support import failures, wait_until
from tests.support.stages import until_at_rest
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker, WorkerPool

WAIT = 30
SERIALIZERS = ["json", "pickle", "msgpack", "yaml", "json gzip"]
CELERY_COMPRESSES = tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 7)


@pytest.fixture(params=SERIALIZERS)
def worker(worker_for: WorkerPool, request: pytest.FixtureRequest) -> TaskWorker:
    """A worker for each serializer, and one that compresses."""
    serializer, _, compression = request.param.partition(" ")
    if compression and not CELERY_COMPRESSES:
        pytest.skip("Celery compresses results from 5.7 on")
    return worker_for(serializer=serializer, compression=compression or None, task_track_started=True)


@pytest.fixture
def watcher(worker: TaskWorker) -> Iterator[ResultWatcher]:
    """Watches that worker."""
    with ResultWatcher(worker.result_url, serializer=worker.settings["result_serializer"]) as made:
        yield made


def test_values(worker: TaskWorker, watcher: ResultWatcher) -> None:
    sent = [
        ("add", (2, 3), 5),
        ("echo", ({"a": [1, None, True], "ü": "é"},), {"a": [1, None, True], "ü": "é"}),
        ("echo", (None,), None),
        ("big", (300_000,), "x" * 300_000),
        ("retry_once", ("late",), "late"),
        ("progress", (3,), 3),
    ]
    futures = [watcher.watch(worker.send(name, *args)) for name, args, _ in sent]
    assert [future.result(WAIT) for future in futures] == [value for _, _, value in sent]
    assert {future.status for future in futures} == {"SUCCESS"}


def test_typed_values(worker: TaskWorker, watcher: ResultWatcher) -> None:
    if worker.settings["result_serializer"] in ("msgpack", "yaml"):
        pytest.skip("this serializer cannot carry them")
    assert watcher.watch(worker.send("typed")).result(WAIT) == {
        "datetime": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    }


@pytest.mark.parametrize(
    ("kind", "args", "expected"),
    [
        ("ValueError", ("no", 1), ValueError),
        ("KeyError", ("k",), KeyError),
        ("CustomError", ("x", [1]), failures.CustomError),
        ("Outer.InnerError", ("deep",), failures.Outer.InnerError),
        ("NeedsThreeError", (1, 2, 3), None),
        ("UnpicklableError", ("u",), None),
    ],
)
def test_failures(
    worker: TaskWorker, watcher: ResultWatcher, kind: str, args: tuple[Any, ...], expected: type[Exception] | None
) -> None:
    error = watcher.watch(worker.send("fail", kind, *args)).exception(WAIT)
    assert isinstance(error, Exception)
    assert type(error).__name__ == kind.rpartition(".")[2]
    if expected is None:
        assert isinstance(error, (TaskFailedError, failures.UnpicklableError))
    else:
        assert type(error) is expected
        assert error.args == args
    assert "tasks.py" in str(error.__cause__), "the worker's traceback"
    assert kind.rpartition(".")[2] in str(error.__cause__)


def test_a_task_that_raised_stop_iteration(worker: TaskWorker, watcher: ResultWatcher) -> None:
    """asyncio would wait for ever on a future that ends with it."""
    error = watcher.watch(worker.send("fail", "StopIteration", "stop")).exception(WAIT)
    assert isinstance(error, TaskFailedError)
    assert type(error).__name__ == "StopIteration"


def test_revoked(worker: TaskWorker, watcher: ResultWatcher) -> None:
    task_id = str(uuid.uuid4())
    future = watcher.watch(task_id)
    # To this worker alone: every worker that hears of it stores the state by itself, each in its own serializer.
    worker.make_app().control.revoke(task_id, destination=[worker.process.name])
    worker.send("add", 1, 1, task_id=task_id, countdown=0.5)
    error = future.exception(WAIT)
    assert isinstance(error, TaskRevokedError)
    assert isinstance(error, celery.exceptions.TaskRevokedError)
    assert future.status == "REVOKED"


def test_states_in_order(worker: TaskWorker, watcher: ResultWatcher) -> None:
    """Watched before it is sent, so that no state can be missed."""
    task_id, retried = str(uuid.uuid4()), str(uuid.uuid4())
    states: list[tuple[str, Any]] = []
    retries: list[str] = []
    future = watcher.watch(task_id, on_update=lambda meta: states.append((meta.status, meta.result)))
    other = watcher.watch(retried, on_update=lambda meta: retries.append(meta.status))
    wait_until(lambda: watcher.stats().subscribed == 2 and watcher.stats().state == "draining", "the subscriptions")
    # Those that were asked for, and are on their way perhaps.
    until_at_rest(watcher)
    worker.send("progress", 3, kwargs={"pause": 0.05}, task_id=task_id)
    worker.send("retry_once", 5, task_id=retried)
    assert future.result(WAIT) == 3
    assert other.result(WAIT) == 5
    assert [status for status, _ in states] == ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert [value for status, value in states if status == "PROGRESS"] == [{"done": n, "of": 3} for n in (1, 2, 3)]
    assert retries[:2] == ["STARTED", "RETRY"]
    assert retries[-1] == "SUCCESS"


def test_a_chain(worker: TaskWorker, watcher: ResultWatcher) -> None:
    application = worker.make_app(result_backend="disabled://", result_compression=None)
    result = adding_chain(application, 1, 2, 3, 4).apply_async()
    assert watcher.watch(result.id).result(WAIT) == 10


def test_many_threads_send_and_wait(worker: TaskWorker, watcher: ResultWatcher) -> None:
    def work(number: int) -> list[Any]:
        return [watcher.watch(worker.send("add", number, step)).result(WAIT) for step in range(5)]

    assert worker.sender is not None
    outcomes = in_threads(16, work, timeout=60)
    assert outcomes == [[number + step for step in range(5)] for number in range(16)]


def test_a_prefix_and_extended_results(worker_for: WorkerPool, key_prefix: str) -> None:
    """Celery's global_keyprefix, and the fields that result_extended adds."""
    worker = worker_for(
        result_backend_transport_options={"global_keyprefix": "myapp"}, result_extended=True, task_track_started=True
    )
    with ResultWatcher(worker.result_url, key_prefix="myapp") as watcher:
        future = watcher.watch(worker.send("add", 20, 22))
        assert future.result(WAIT) == 42
        meta = future.meta
    assert meta is not None
    assert (meta.name, meta.args, meta.retries, meta.queue) == (
        "add",
        [20, 22],
        0,
        worker.settings["task_default_queue"],
    )
    assert meta.worker


def test_two_hundred_results_that_no_thread_waits_for(worker_for: WorkerPool) -> None:
    """Drained all the same: they are there when somebody asks."""
    worker = worker_for()
    done = threading.Event()
    left = [200]

    def count(_: object) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    with ResultWatcher(worker.result_url) as watcher:
        futures = [watcher.watch(worker.send("echo", number)) for number in range(200)]
        for future in futures:
            future.add_done_callback(count)
        assert done.wait(WAIT)
        assert [future.result(0) for future in futures] == list(range(200))
