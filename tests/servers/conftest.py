"""Fixtures: real web servers with small applications, a real worker behind them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bgresults.testing.web import WebServer
from tests.support.tasks import ENVIRONMENT_VARIABLE
from tests.support.workers import TaskWorker, WorkerPool

ROOT = Path(__file__).resolve().parents[2]
FLASK_APP = "tests.servers.apps.flask_app:app"

Serve = Callable[..., WebServer]
Gunicorn = Callable[..., WebServer]


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    """Tasks and results in the shared Redis."""
    return worker_for()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(command, settings, files={}, warm=False)`` → a running WebServer whose Celery app has these settings.

    ``warm``: the application uses its watcher while it is loaded.
    """
    made: list[WebServer] = []

    def start(
        command: Sequence[str],
        settings: Mapping[str, Any],
        *,
        files: Mapping[str, str] | None = None,
        warm: bool = False,
        **options: Any,
    ) -> WebServer:
        environment = {
            ENVIRONMENT_VARIABLE: json.dumps(dict(settings)),
            "BGRESULTS_TEST_BACKEND": str(settings["result_backend"]),
        }
        if warm:
            environment["BGRESULTS_TEST_WARM"] = "1"
        server = WebServer(command, files=files, python_path=[ROOT], env=environment, **options)
        made.append(server)
        return server.start()

    yield start
    for server in made:
        server.close()


@pytest.fixture
def gunicorn(serve: Serve) -> Gunicorn:
    """``gunicorn(configuration, settings, *arguments)`` → a running WebServer, with that ``gunicorn.conf.py``."""

    def start(
        configuration: str, settings: Mapping[str, Any], *arguments: str, app: str = FLASK_APP, **options: Any
    ) -> WebServer:
        # Its control socket is in the home folder, where another one's may be.
        command = [sys.executable, "-m", "gunicorn", "-c", "{folder}/gunicorn.conf.py", "-b", "127.0.0.1:{port}"]
        return serve([*command, *arguments, app], settings, files={"gunicorn.conf.py": configuration}, **options)

    return start
