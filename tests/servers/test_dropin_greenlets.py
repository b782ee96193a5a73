"""The drop-in where threads are greenlets: in a web process, and in a worker whose tasks wait."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.testing.workers import CeleryWorker
from tests.support.tasks import ENVIRONMENT_VARIABLE, make_app
from tests.support.workers import TaskWorker, WorkerPool, close_app

ROOT = Path(__file__).resolve().parents[2]
WAIT = 30


def run(*arguments: object) -> tuple[dict[str, Any], str]:
    """Run the program; return what it found, and what it wrote to stderr."""
    command = [sys.executable, "-m", "tests.servers.dropin_in_greenlets", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_patched_first(redis_url: str) -> None:
    found, said = run("first", redis_url, 100)
    assert found == {"right": 100, "child": 0, "again": 100}
    assert said == ""


def test_patched_late(redis_url: str) -> None:
    found, said = run("late", redis_url, 20)
    assert found == {"right": 20, "child": 0, "again": 20}
    warnings = [line for line in said.splitlines() if "RuntimeWarning: bgresults was imported before" in line]
    assert len(warnings) == 1


@pytest.fixture
def stock(worker_for: WorkerPool) -> TaskWorker:
    return worker_for()


def test_a_worker_of_greenlets_whose_tasks_wait(stock: TaskWorker) -> None:
    own = f"{stock.settings['task_default_queue']}-greenlets"
    settings = {
        **stock.settings,
        "result_backend": f"bgresults+{stock.settings['result_backend']}",
        "task_default_queue": own,
    }
    worker = CeleryWorker(
        "tests.support.tasks",
        concurrency=10,
        pool="gevent",
        python_path=[ROOT],
        env={ENVIRONMENT_VARIABLE: json.dumps(settings), "C_FORCE_ROOT": "1"},
        args=["-Q", own],
    )
    app = make_app(settings)
    with worker:
        sent = [app.tasks["wait_for_another"].delay(stock.settings["task_default_queue"]) for _ in range(10)]
        values = [result.get(timeout=WAIT) for result in sent]
        assert [value for _, value, _ in values] == ["slept"] * 10
    CeleryResultWatcher.from_celery(app).close()
    close_app(app)
