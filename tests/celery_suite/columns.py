"""Running Celery's tests with one backend, with Celery's own waiting or with the drop-in's, and what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from bgresults.testing.servers import RedisServer
from tests.versions.environments import ROOT, python_with

__all__ = ["BACKENDS", "Backend", "Outcomes", "fetch", "run_column"]

#: Test id → "passed", "failed" or "skipped".
Outcomes = dict[str, str]

_WORST_FIRST = ("failed", "passed", "skipped")
# Whole columns take some minutes each; one that hangs is no result.
_SECONDS = 3600


@dataclass(frozen=True)
class Backend:
    """A result backend, and the files of tests that are about it."""

    url: str
    broker: str
    files: tuple[str, ...]


_AMQP = os.environ.get("BGRESULTS_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")

#: ``{port}`` is that of a Redis server of their own.
BACKENDS = {
    "redis": Backend(
        "redis://127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}/1",
        ("test_tasks.py", "test_redis_backend.py", "test_canvas.py", "test_group_chains.py"),
    ),
    "rpc": Backend("rpc://", _AMQP, ("test_tasks.py",)),
}


def fetch(folder: Path) -> Path:
    """Download Celery's source distribution in the version that is installed here; return the folder it is in."""
    name = f"celery-{version('celery')}"
    if not (folder / name / "t" / "integration").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery"]
        subprocess.run([*command, "--dest", str(folder), name.replace("-", "==")], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


def run_column(source: Path, name: str, *, drop_in: bool, select: str = "", report: str = "") -> Outcomes:
    """Run the tests of one backend.

    Args:
        source: what :func:`fetch` returned.
        name: of the backend.
        drop_in: whether the applications wait on the background thread.
        select: as pytest's ``-k``; empty for all.
        report: what to name the log and the report after, instead of the column.
    """
    backend = BACKENDS[name]
    packages = ("celery", "kombu", "redis", "hiredis", "tenacity", "pytest", "pytest-timeout")
    pinned = [f"{package}=={version(package)}" for package in packages]
    python = python_with("celery-suite", [*pinned, "pytest-rerunfailures", "pydantic", "tblib"])
    written = source.parent / f"{name}-{report or ('drop-in' if drop_in else 'stock')}.xml"
    written.unlink(missing_ok=True)
    with RedisServer() as server:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(source)]),
            "TEST_BACKEND": backend.url.format(port=server.port),
            "TEST_BROKER": backend.broker.format(port=server.port),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(server.port),
        }
        command = [str(python), "-m", "pytest", "-q", "--tb=short", f"--junitxml={written}"]
        command += ["-p", "celery.contrib.pytest"]
        command += ["-p", "tests.celery_suite.plugin"] if drop_in else []
        command += ["-k", select] if select else []
        command += [f"t/integration/{file}" for file in backend.files]
        with written.with_suffix(".log").open("w") as log:
            subprocess.run(command, cwd=source, env=environment, stdout=log, stderr=log, timeout=_SECONDS, check=False)
    return _outcomes(written)


def _outcomes(report: Path) -> Outcomes:
    """What pytest wrote down. A test that was run again counts as it ended."""
    found: Outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        test = f"{case.get('classname', '').removeprefix('t.integration.')}::{case.get('name')}"
        found[test] = min(outcome, found.get(test, outcome), key=_WORST_FIRST.index)
    return found
