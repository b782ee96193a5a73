"""The workers that all other tests rely on, and the fixtures around them."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bgresults.testing import CeleryWorker, RedisServer
from tests.support import wait_until
from tests.support.tasks import adding_chain
from tests.support.workers import TaskWorker, WorkerPool


def stored(server: RedisServer, task_id: str, *, prefix: str = "", timeout: float = 20) -> dict[str, Any]:
    """The final state of a task, as Celery stored it."""
    found: dict[str, Any] = {}

    def is_final() -> bool:
        payload = client.get(f"{prefix}celery-task-meta-{task_id}")
        found.update(json.loads(payload) if isinstance(payload, bytes) else {})
        return found.get("status") in {"SUCCESS", "FAILURE", "REVOKED"}

    with server.client() as client:
        wait_until(is_final, f"the result of {task_id}", timeout)
    return found


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    return worker_for()


@pytest.mark.parametrize(
    ("name", "args", "status", "result"),
    [
        ("add", (2, 3), "SUCCESS", 5),
        ("echo", ({"a": [1, None]},), "SUCCESS", {"a": [1, None]}),
        ("progress", (3,), "SUCCESS", 3),
        ("retry_once", ("late",), "SUCCESS", "late"),
        ("big", (100_000,), "SUCCESS", "x" * 100_000),
        ("sleep", (0.01, "woke"), "SUCCESS", "woke"),
        (
            "fail",
            ("KeyError", "k"),
            "FAILURE",
            {"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"},
        ),
        (
            "fail",
            ("CustomError", 1),
            "FAILURE",
            {"exc_type": "CustomError", "exc_message": [1], "exc_module": "tests.support.failures"},
        ),
    ],
)
def test_tasks(
    worker: TaskWorker, redis_server: RedisServer, name: str, args: tuple[Any, ...], status: str, result: Any
) -> None:
    meta = stored(redis_server, worker.send(name, *args))
    assert (meta["status"], meta["result"]) == (status, result)


def test_a_nested_exception_has_its_qualified_name(worker: TaskWorker, redis_server: RedisServer) -> None:
    assert stored(redis_server, worker.send("fail", "Outer.InnerError"))["result"]["exc_type"] == "Outer.InnerError"


def test_a_chain(worker: TaskWorker, redis_server: RedisServer) -> None:
    result = adding_chain(worker.sender, 1, 2, 3, 4).apply_async()
    assert stored(redis_server, result.id)["result"] == 10


def test_the_settings_reach_the_worker(worker_for: WorkerPool, redis_server: RedisServer, key_prefix: str) -> None:
    # Celery 5.4 adds the underscore even if there is one.
    options = {"global_keyprefix": key_prefix.removesuffix("_")}
    worker = worker_for(result_extended=True, result_backend_transport_options=options, concurrency=1)
    meta = stored(redis_server, worker.send("add", 1, 1), prefix=key_prefix)
    assert (meta["name"], meta["args"]) == ("add", [1, 1])
    worker.process.stop()


def test_celerys_own_wait_leaves_nothing(worker: TaskWorker) -> None:
    app = worker.make_app()
    assert app.signature("add", (2, 2)).apply_async().get(timeout=10) == 4
    # While the application is open: in Celery 5.4 a result that goes later connects once more.
    gc.collect()


def test_workers_are_kept(worker_for: WorkerPool) -> None:
    assert worker_for() is worker_for(serializer="json")


@pytest.mark.rabbitmq
def test_replies_over_rabbitmq(worker_for: WorkerPool, rabbitmq_url: str) -> None:
    worker = worker_for(broker_url=rabbitmq_url, result_backend="rpc://")
    connection = worker.sender.connection_for_read()
    with connection, connection.SimpleQueue("", queue_opts={"exclusive": True, "durable": False}) as replies:
        worker.send("add", 2, 3, task_id="some-id", reply_to=replies.queue.name)
        reply = replies.get(timeout=10)
        assert (reply.payload["task_id"], reply.payload["result"]) == ("some-id", 5)
        reply.ack()


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_no_process_is_left(redis_server: RedisServer, worker_for: WorkerPool, ending: str) -> None:
    worker = worker_for(concurrency=1)
    group = worker.process.pid
    getattr(worker.process, ending)()
    wait_until(lambda: group_is_gone(group), "the worker's processes to be gone")
    assert not worker.process.running


def test_another_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho started with: $*\nexit 3\n")
    python.chmod(0o755)
    worker = CeleryWorker("some_application", python=python)
    with pytest.raises(RuntimeError, match=r"code 3(.|\n)*started with: -m celery -A some_application worker"):
        worker.start()
    worker.close()


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no_such_application"), CeleryWorker("no_such_application", cwd=tmp_path):
        pass


def test_one_that_was_not_started() -> None:
    worker = CeleryWorker("some_application")
    with pytest.raises(RuntimeError, match="not running"):
        _ = worker.pid
    assert worker.log_tail() == "(it never started)"
    assert repr(worker) == f"<CeleryWorker {worker.name} not running>"
    worker.close()
