"""Stock Celery workers reply through RabbitMQ, a watcher reads: every state, every serializer, both bindings."""

from __future__ import annotations

import datetime
import decimal
import json
import random
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import celery
import pytest

from bgresults import AMQPOptions, ResultWatcher, TaskFailedError, TaskRevokedError
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.options import Binding
from tests.support import failures, wait_until
from tests.support.results import new_id
from tests.support.rpc_scene import play
from tests.support.rpc_workers import WebApps, queue_exists, rpc_worker
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker, WorkerPool
from tests.versions.environments import ROOT, chosen_versions, python_with
from tests.versions.test_versions import OLD

pytestmark = pytest.mark.rabbitmq

WAIT = 30


@pytest.fixture(params=["json", "pickle", "msgpack", "yaml"])
def worker(worker_for: WorkerPool, rabbitmq_url: str, request: pytest.FixtureRequest) -> TaskWorker:
    """A worker for each serializer."""
    return rpc_worker(worker_for, rabbitmq_url, serializer=request.param, task_track_started=True)


@pytest.fixture(params=["process", "task"])
def watcher(worker: TaskWorker, rabbitmq_url: str, request: pytest.FixtureRequest) -> Iterator[ResultWatcher]:
    """Watches that worker, without an application of its own."""
    serializer = worker.settings["result_serializer"]
    options = AMQPOptions(binding=request.param)
    with ResultWatcher(rabbitmq_url, serializer=serializer, amqp=options) as made:
        yield made


def sent(watcher: ResultWatcher, worker: TaskWorker, name: str, *args: Any, **options: Any) -> str:
    """The id of a task that replies to the watcher."""
    task_id = str(options.pop("task_id", None) or new_id())
    return worker.send(name, *args, task_id=task_id, reply_to=watcher.declare_for(task_id), **options)


def test_values(worker: TaskWorker, watcher: ResultWatcher) -> None:
    tasks = [
        ("add", (2, 3), 5),
        ("echo", ({"a": [1, None, True], "ü": "é"},), {"a": [1, None, True], "ü": "é"}),
        ("echo", (None,), None),
        ("big", (300_000,), "x" * 300_000),
        ("retry_once", ("late",), "late"),
        ("progress", (3,), 3),
    ]
    futures = [watcher.watch(sent(watcher, worker, name, *args)) for name, args, _ in tasks]
    assert [future.result(WAIT) for future in futures] == [value for _, _, value in tasks]
    assert {future.status for future in futures} == {"SUCCESS"}


def test_typed_values(worker: TaskWorker, watcher: ResultWatcher) -> None:
    if worker.settings["result_serializer"] in ("msgpack", "yaml"):
        pytest.skip("this serializer cannot carry them")
    assert watcher.watch(sent(watcher, worker, "typed")).result(WAIT) == {
        "datetime": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    }


@pytest.mark.parametrize(
    ("kind", "args", "expected"),
    [
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
    error = watcher.watch(sent(watcher, worker, "fail", kind, *args)).exception(WAIT)
    assert isinstance(error, Exception)
    assert type(error).__name__ == kind.rpartition(".")[2]
    if expected is None:
        assert isinstance(error, (TaskFailedError, failures.UnpicklableError))
    else:
        assert type(error) is expected
        assert error.args == args
    assert "tasks.py" in str(error.__cause__), "the worker's traceback"


def test_revoked(worker: TaskWorker, watcher: ResultWatcher, apps: WebApps) -> None:
    task_id = new_id()
    apps(worker.settings).control.revoke(task_id, destination=[worker.process.name])
    future = watcher.watch(sent(watcher, worker, "add", 1, 1, task_id=task_id, countdown=0.5))
    error = future.exception(WAIT)
    assert isinstance(error, TaskRevokedError)
    assert isinstance(error, celery.exceptions.TaskRevokedError)
    assert future.status == "REVOKED"


def test_states_in_order(worker: TaskWorker, watcher: ResultWatcher) -> None:
    """All of them, whether they come before or after somebody watches."""
    states: list[tuple[str, Any]] = []
    task_id = sent(watcher, worker, "progress", 3)
    future = watcher.watch(task_id, on_update=lambda meta: states.append((meta.status, meta.result)))
    assert future.result(WAIT) == 3
    assert [status for status, _ in states] == ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert [value for status, value in states if status == "PROGRESS"] == [{"done": n, "of": 3} for n in (1, 2, 3)]
    retried = [meta.status for meta in watcher.updates(sent(watcher, worker, "retry_once", 5), timeout=WAIT)]
    assert retried == ["STARTED", "RETRY", "STARTED", "SUCCESS"]


def test_before_and_after(worker: TaskWorker, watcher: ResultWatcher, rabbitmq_url: str) -> None:
    before = new_id()
    queue = watcher.declare_for(before)
    early = watcher.watch(before)
    worker.send("echo", "early", task_id=before, reply_to=queue)
    late = [sent(watcher, worker, "echo", number) for number in range(20)]
    assert early.result(WAIT) == "early"
    random.Random(5).shuffle(late)
    futures = [watcher.watch(task_id) for task_id in late]
    assert sorted(future.result(WAIT) for future in futures) == list(range(20))
    assert watcher.watch(before).result(WAIT) == "early", "a second watch of what has ended"
    wait_until(lambda: watcher.pending == 0, "nothing that is pending")


@pytest.mark.parametrize("binding", ["process", "task"])
def test_sixteen_threads_in_any_order(worker_for: WorkerPool, rabbitmq_url: str, binding: Binding) -> None:
    worker = rpc_worker(worker_for, rabbitmq_url)
    # Once, and not by sixteen threads at the same time.
    assert worker.sender is not None

    def work(number: int) -> list[Any]:
        futures: dict[int, Future[Any]] = {}
        for step in range(6):
            name, args = [("add", (number, step)), ("fail", ("KeyError", step)), ("retry_once", (step,))][step % 3]
            futures[step] = here.watch(sent(here, worker, name, *args))
        steps = list(futures)
        random.Random(number).shuffle(steps)
        found = {step: futures[step].exception(WAIT) or futures[step].result(0) for step in steps}
        return [found[step].args[0] if isinstance(found[step], KeyError) else found[step] for step in range(6)]

    expected = [[number + step if step % 3 == 0 else step for step in range(6)] for number in range(16)]
    with ResultWatcher(rabbitmq_url, amqp=AMQPOptions(binding=binding)) as here:
        assert in_threads(16, work, timeout=55) == expected
        # Counted a moment after whoever waits for it is told.
        wait_until(lambda: here.stats().resolved + here.stats().failed == 96, "the last one to be counted")


@pytest.fixture
def apps() -> Iterator[WebApps]:
    made = WebApps()
    yield made
    made.close()


@pytest.mark.parametrize("binding", ["process", "task"])
def test_an_application(worker_for: WorkerPool, rabbitmq_url: str, apps: WebApps, binding: Binding) -> None:
    app = apps(rpc_worker(worker_for, rabbitmq_url).settings)
    queue = play(app, binding)
    if queue is not None:
        wait_until(lambda: not queue_exists(rabbitmq_url, queue), "the end of the reply queue")


def test_replies_through_redis(redis_url: str, worker_for: WorkerPool, apps: WebApps) -> None:
    """A broker that is no AMQP broker: kombu's transport is asked in short intervals."""
    settings: dict[str, Any] = {"broker_url": f"{redis_url.rpartition('/')[0]}/9", "result_backend": "rpc://"}
    worker = worker_for(**settings)
    app = apps(worker.settings)
    with ResultWatcher.from_celery(app) as watcher:
        assert isinstance(watcher, CeleryResultWatcher)
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        assert watcher.submit(adding_chain(app, 1, 2, 3)).result(WAIT) == 6


def test_a_task_that_puts_another_in_its_place(worker_for: WorkerPool, rabbitmq_url: str, apps: WebApps) -> None:
    """Celery has the new one reply to the worker: neither way of waiting hears of it."""
    app = apps(rpc_worker(worker_for, rabbitmq_url).settings)
    with pytest.raises(celery.exceptions.TimeoutError):
        app.signature("replaced", ("echo", 5), app=app).delay().get(timeout=2)
    with ResultWatcher.from_celery(app) as watcher:
        assert isinstance(watcher, CeleryResultWatcher)
        future = watcher.submit("replaced", ("echo", 5))
        with pytest.raises(TimeoutError):
            future.result(2)


@pytest.mark.versions
@pytest.mark.timeout(600)
@pytest.mark.parametrize("binding", ["process", "task"])
@pytest.mark.parametrize("version", chosen_versions())
def test_versions(worker_for: WorkerPool, rabbitmq_url: str, apps: WebApps, version: str, binding: Binding) -> None:
    """Workers with other versions of Celery."""
    python = python_with(f"worker-{version}", [f"celery~={version}.0", "redis", "packaging", "msgpack", "PyYAML"])
    worker = rpc_worker(worker_for, rabbitmq_url, python=python)
    app = apps(worker.settings)
    play(app, binding)
    assert app.signature("celery_version", app=app).delay().get(timeout=WAIT).startswith(f"{version}.")


@pytest.mark.versions
@pytest.mark.timeout(600)
@pytest.mark.skipif(not chosen_versions(), reason="no other versions of Celery were asked for")
def test_a_web_process(worker_for: WorkerPool, rabbitmq_url: str) -> None:
    """With the oldest Celery that it may have, and a stock worker of today."""
    python = python_with("web-5.4", [*OLD, "-e", f"{ROOT}[celery]"])
    settings = json.dumps(rpc_worker(worker_for, rabbitmq_url).settings)
    command = [str(python), "-m", "tests.support.rpc_scene", settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5.4.")
    assert done.stderr == ""
