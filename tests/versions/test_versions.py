"""Workers with every Celery from 5.3 on answer this web process, and a web process with old versions works too."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.workers import TaskWorker, WorkerPool
from tests.versions.environments import ROOT, chosen_versions, python_with
from tests.versions.scenario import EXPECTED, play

# The first time, pip has to install all of it. Workers that send groups subscribe to their results, for good.
pytestmark = [pytest.mark.versions, pytest.mark.timeout(600), pytest.mark.allow_leaks("channels")]


# kombu's Redis transport needs `packaging`, and old versions of Celery do not ask for it.
NEEDED = ["redis", "packaging", "msgpack", "PyYAML"]
# Of one time: newer versions of kombu's transport refuse this redis-py.
OLD = ["celery~=5.4.0", "kombu~=5.3.0", "redis~=5.0.1"]


def started(worker_for: WorkerPool, serializer: str, version: str | None = None) -> TaskWorker:
    """A worker with that version of Celery; None for the one that is installed here."""
    if version is None:
        return worker_for(serializer=serializer)
    python = python_with(f"worker-{version}", [f"celery~={version}.0", *NEEDED])
    return worker_for(serializer=serializer, python=python)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("version", chosen_versions() or ["none"])
def test_workers(worker_for: WorkerPool, version: str, serializer: str) -> None:
    worker = started(worker_for, serializer, version)
    assert play(worker.settings, worker.process.name) == EXPECTED
    # Now that one has answered: it was that one.
    app = worker.make_app()
    assert app.signature("celery_version").apply_async().get(timeout=30).startswith(f"{version}.")


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_web_process(worker_for: WorkerPool, serializer: str) -> None:
    """With the oldest Celery and redis-py that it may have, against a worker with the newest."""
    worker = started(worker_for, serializer)
    python = python_with("web-5.4", [*OLD, "-e", f"{ROOT}[celery]"])
    given = json.dumps({"settings": worker.settings, "worker": worker.process.name})
    done = subprocess.run(
        [str(python), "-m", "tests.versions.scenario", given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["versions"]["celery"].startswith("5.4.")
    assert told["versions"]["redis"].startswith("5.0.")
    assert told["versions"]["bgresults"].startswith(str(ROOT))
    assert told["outcomes"] == EXPECTED
    assert done.stderr == ""
