"""Run by the interpreter of an environment in which bgresults was just installed: does it work?

``python -I smoke.py <URL of a Redis> <version> <nothing, celery, or all>``, the last by its extras. It knows nothing of
the repository.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import subprocess
import sys
import uuid
from pathlib import Path

import redis

import bgresults
from bgresults import ResultWatcher

PATIENCE = 20
#: What has to be there without any extra.
CORE = ("bgresults", "bgresults.consumers.redis", "bgresults.consumers.rpc", "bgresults.diagnosis", "bgresults.sse")
#: Module → the extra that it asks for.
BEHIND_EXTRAS = {
    "bgresults.integrations.celery": "celery",
    "bgresults.integrations.django": "django",
    "bgresults.integrations.flask": "flask",
}
#: What is a program, or runs in a server that is not installed here.
NOT_IMPORTED = ("bgresults.__main__",)


def check_the_package(version: str) -> None:
    """It comes from here, and says the same of itself everywhere."""
    place = Path(bgresults.__file__)
    assert place.is_relative_to(Path(sys.prefix)), f"imported from {place}, not from {sys.prefix}"
    assert bgresults.__version__ == importlib.metadata.version("bgresults") == version
    assert (place.parent / "py.typed").is_file()
    files = importlib.metadata.files("bgresults") or []
    assert any(file.match("*.dist-info/licenses/LICENSE") for file in files), "no LICENSE"
    for name in ("benchmarks", "examples", "tests"):
        assert importlib.util.find_spec(name) is None, f"installed a package {name} beside bgresults"


def check_results(url: str) -> None:
    """A result that is stored already, and one that comes while somebody waits."""

    def store(task_id: str, result: object) -> None:
        body = json.dumps({"status": "SUCCESS", "result": result, "task_id": task_id, "traceback": None})
        client.set(f"celery-task-meta-{task_id}", body, ex=60)
        client.publish(f"celery-task-meta-{task_id}", body)

    stored, coming = str(uuid.uuid4()), str(uuid.uuid4())
    with redis.Redis.from_url(url) as client, ResultWatcher(url) as watcher:
        store(stored, "was there")
        assert watcher.watch(stored).result(PATIENCE) == "was there"
        future = watcher.watch(coming)
        assert watcher.wait_ready(PATIENCE)
        store(coming, ["came", 1])
        assert future.result(PATIENCE) == ["came", 1]


def check_what_is_missing() -> None:
    """Without an extra, its module says which one; so does the command."""
    for name in CORE:
        importlib.import_module(name)
    for name, extra in BEHIND_EXTRAS.items():
        said = _python("-c", f"import {name}")
        assert f"pip install 'bgresults[{extra}]'" in said.stderr, said
    said = _python("-c", "import bgresults; bgresults.ResultWatcher.from_celery(None)")
    assert "pip install 'bgresults[celery]'" in said.stderr, said
    said = _python("-m", "bgresults", "--help")
    assert said.returncode == 2, said
    assert "pip install 'bgresults[" in said.stderr, said
    assert len(said.stderr.splitlines()) == 1, said


def check_with_celery(url: str) -> None:
    """With the extra ``celery`` alone: its broker and its results can be in Redis, and Celery finds the drop-in."""
    from celery import Celery

    with redis.Redis.from_url(url) as client:
        for number, backend in enumerate((url, f"bgresults+{url}")):
            app = Celery("smoke", broker=url, backend=backend)
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=PATIENCE)
            body = {"status": "SUCCESS", "result": number, "task_id": f"smoke {number}", "traceback": None}
            client.set(f"celery-task-meta-smoke {number}", json.dumps(body), ex=60)
            assert app.AsyncResult(f"smoke {number}").get(timeout=PATIENCE) == number
            with ResultWatcher.from_celery(app) as watcher:
                assert watcher.watch(f"smoke {number}").result(PATIENCE) == number


def check_with_all_extras() -> None:
    """Every module can be imported, and the command runs."""
    for module in pkgutil.walk_packages(bgresults.__path__, "bgresults."):
        if not module.name.startswith(NOT_IMPORTED):
            importlib.import_module(module.name)
    said = _python("-m", "bgresults", "--help")
    assert said.returncode == 0, said
    assert all(command in said.stdout for command in ("demo", "doctor", "watch")), said
    assert bgresults.__version__ in _python("-m", "bgresults", "--version").stdout


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _main(url: str, version: str, extras: str) -> None:
    check_the_package(version)
    check_results(url)
    if not extras:
        check_what_is_missing()
        return
    check_with_celery(url)
    if extras == "all":
        check_with_all_extras()


if __name__ == "__main__":
    _main(*sys.argv[1:])
