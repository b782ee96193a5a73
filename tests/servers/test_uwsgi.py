"""uWSGI, which forks in C. BGRESULTS_UWSGI names another one than that of the environment, such as an old one."""

from __future__ import annotations

import http.client
import os
import platform
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bgresults.testing import RedisServer
from bgresults.testing.http_load import Load
from bgresults.testing.web import WebServer
from tests.servers.conftest import FLASK_APP, Serve
from tests.servers.page import block
from tests.support.calls import Caller
from tests.support.results import ResultWriter, new_ids
from tests.support.waiting import wait_until
from tests.support.workers import TaskWorker

INSTALLED = Path(sys.executable).with_name("uwsgi")
UWSGI = shlex.split(os.environ.get("BGRESULTS_UWSGI", str(INSTALLED)))
IS_MISSING = not Path(UWSGI[0]).exists()
HAS_WHEELS = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)
REQUIRED = os.environ.get("BGRESULTS_REQUIRE_SERVERS") == "1" and HAS_WHEELS
HOW = "no uWSGI: pip install pyuwsgi, or name one in BGRESULTS_UWSGI"

pytestmark = pytest.mark.skipif(IS_MISSING and not REQUIRED, reason=HOW)


@pytest.fixture
def uwsgi(serve: Serve, worker: TaskWorker) -> Any:
    """``uwsgi(*arguments)`` → a running server with the page's settings, and two processes.

    The application is connected when uWSGI forks.
    """

    if IS_MISSING:
        pytest.fail(f"{HOW} (BGRESULTS_REQUIRE_SERVERS=1)", pytrace=False)

    def start(*arguments: str, without: str | None = None) -> WebServer:
        replaced = {"0.0.0.0:8000": "127.0.0.1:$(PORT)", "proj.wsgi:app": FLASK_APP, "processes = 4": "processes = 2"}
        lines = block("uWSGI", "ini", replaced).splitlines()
        configuration = "\n".join(line for line in lines if without is None or without not in line)
        command = [*UWSGI, "--set-placeholder", "PORT={port}", "--ini", "{folder}/uwsgi.ini", "--home", sys.prefix]
        files = {"uwsgi.ini": configuration.replace("$(PORT)", "%(PORT)")}
        return serve([*command, *arguments], worker.settings, files=files, warm=without is None)

    return start


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="as documented"),
        pytest.param(["--lazy-apps"], id="lazy-apps", marks=pytest.mark.slow),
        pytest.param(["--py-call-uwsgi-fork-hooks"], id="fork hooks", marks=pytest.mark.slow),
        pytest.param(["--py-call-osafterfork"], id="child hook", marks=pytest.mark.slow),
    ],
)
def test_requests_get_their_results(uwsgi: Any, arguments: list[str]) -> None:
    server = uwsgi(*arguments)
    report = Load(f"{server.url}/add", 120, 8).report(50)
    assert (report.right, report.wrong, report.lost) == (120, [], [])
    server.send_signal(signal.SIGTERM)
    assert server.wait(15)
    assert "Traceback" not in server.log()
    assert "Warning" not in server.log().replace("DeprecationWarning", "")


@pytest.mark.slow
def test_a_stop(uwsgi: Any, redis_server: RedisServer) -> None:
    """Requests that wait are cut, and their subscriptions end."""
    server = uwsgi()
    writer = ResultWriter(redis_server)
    ids = new_ids(3)
    calls = [Caller(partial(server.get, f"/wait/{task_id}", 50)) for task_id in ids]
    wait_until(lambda: set(ids) <= writer.channels(), "the requests to wait")
    server.send_signal(signal.SIGTERM)
    assert server.wait(15)
    for call in calls:
        with pytest.raises((OSError, http.client.HTTPException)):
            call.outcome(15)
    wait_until(lambda: not set(ids) & writer.channels(), "the subscriptions to end")
    writer.close()
    assert "Traceback" not in server.log()


@pytest.mark.slow
def test_without_threads(uwsgi: Any) -> None:
    """One warning in each worker that watches, with the cure. While a request waits, its result comes all the same."""
    server = uwsgi(without="threads")
    if "python threads support enabled" in server.log():
        pytest.skip("this uWSGI has threads, whatever it is told")
    report = Load(f"{server.url}/add", 40, 4).report(50)
    assert (report.right, report.wrong, report.lost) == (40, [], [])
    lines = [line for line in server.log().splitlines() if "RuntimeWarning: this uWSGI runs without threads" in line]
    assert len(lines) == len(report.pids)
    assert "--enable-threads" in lines[0]
