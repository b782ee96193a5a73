"""gunicorn, with the settings of docs/deployment.md."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults.testing import RedisServer
from bgresults.testing.http_load import Load
from bgresults.testing.web import WebServer
from tests.servers.conftest import Gunicorn
from tests.servers.page import block
from tests.support.calls import Caller
from tests.support.results import ResultWriter, new_id
from tests.support.rpc_workers import rpc_worker
from tests.support.waiting import wait_until
from tests.support.workers import TaskWorker, WorkerPool

HOOKS = block("Hooks, which are optional", "python")
# Words of gunicorn, or of Python, that say that something went wrong.
TROUBLE = ("[WARNING]", "[ERROR]", "[CRITICAL]", "Traceback", "Warning:", "Exception")

WAYS = [
    pytest.param("gunicorn, sync workers", {}, id="sync", marks=pytest.mark.slow),
    pytest.param("gunicorn, sync workers", {"preload_app": True}, id="sync-preload", marks=pytest.mark.slow),
    pytest.param("gunicorn, threads", {"preload_app": False}, id="gthread", marks=pytest.mark.slow),
    pytest.param("gunicorn, threads", {}, id="gthread-preload", marks=pytest.mark.slow),
    pytest.param("gunicorn, gevent", {}, id="gevent", marks=pytest.mark.slow),
    pytest.param("gunicorn, gevent with preload", {}, id="gevent-preload", marks=pytest.mark.slow),
]

# The one that makes up for all of them where there is little time.
FIRST = "gthread-preload"
ALL_WAYS_BUT_ONE_SLOW = [
    pytest.param(*way.values, id=way.id, marks=() if way.id == FIRST else way.marks) for way in WAYS
]
# Seconds until gunicorn gives a worker up. Its workers tell once a second that they live.
TIMEOUT = 3


def configured(heading: str, **changed: Any) -> str:
    """The page's configuration, and what is different here."""
    lines = [f"{name} = {value!r}" for name, value in changed.items()]
    return "\n".join([block(heading, "python"), *lines, ""])


def preloads(configuration: str) -> bool:
    """Whether the application is loaded in the master."""
    found: dict[str, Any] = {}
    for line in configuration.splitlines():
        name, equals, value = line.partition(" = ")
        if equals:
            found[name] = value
    return found.get("preload_app") == "True"


def trouble(server: WebServer) -> list[str]:
    """Lines of the log that tell of some."""
    return [line for line in server.log().splitlines() if any(word in line for word in TROUBLE)]


@pytest.mark.parametrize(("heading", "changed"), WAYS)
def test_requests_get_their_results(gunicorn: Gunicorn, worker: TaskWorker, heading: str, changed: Any) -> None:
    configuration = configured(heading, workers=2, **changed)
    # With a preload the application is connected when gunicorn forks.
    server = gunicorn(configuration, worker.settings, warm=preloads(configuration))
    report = Load(f"{server.url}/add", 120, 8).report(50)
    assert (report.right, report.wrong, report.lost) == (120, [], [])
    _, state = server.get("/state")
    assert sum(name.startswith("bgresults-") for name in state["threads"]) == 1
    assert state["greenlets"] is ("gevent" in heading)
    server.send_signal(signal.SIGTERM)
    assert server.wait(10)
    assert server.exit_code == 0
    assert trouble(server) == []


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.parametrize("heading", ["gunicorn, sync workers", "gunicorn, threads", "gunicorn, gevent with preload"])
def test_requests_get_replies(gunicorn: Gunicorn, worker_for: WorkerPool, rabbitmq_url: str, heading: str) -> None:
    """The same with ``result_backend="rpc://"``: a reply queue for each worker."""
    settings = rpc_worker(worker_for, rabbitmq_url).settings
    configuration = configured(heading, workers=2)
    server = gunicorn(configuration, settings, warm=preloads(configuration))
    report = Load(f"{server.url}/add", 120, 8).report(50)
    assert (report.right, report.wrong, report.lost) == (120, [], [])
    server.send_signal(signal.SIGTERM)
    assert server.wait(10)
    assert trouble(server) == []


@pytest.mark.slow
def test_gevent_that_patches_after_a_preload(gunicorn: Gunicorn, worker: TaskWorker) -> None:
    """One warning in each worker, which has the cure; and results all the same."""
    server = gunicorn(configured("gunicorn, gevent", workers=1, preload_app=True), worker.settings)
    report = Load(f"{server.url}/add", 40, 8).report(50)
    assert (report.right, report.wrong, report.lost) == (40, [], [])
    ours = [line for line in server.log().splitlines() if "RuntimeWarning: bgresults" in line]
    assert len(ours) == 1
    assert "in the first line of gunicorn.conf.py" in ours[0]


class TestWhileARequestWaits:
    """What becomes of it, and of its worker."""

    @pytest.fixture
    def waiting(self, gunicorn: Gunicorn, worker: TaskWorker) -> Any:
        """``waiting(configuration)`` → the server, the task id, and the request that waits for it."""

        def begin(configuration: str, timeout: float = 25.0) -> tuple[WebServer, str, Caller]:
            server = gunicorn(configuration, worker.settings)
            task_id = new_id()
            call = Caller(lambda: server.get(f"/wait/{task_id}?timeout={timeout}", timeout=50))
            return server, task_id, call

        return begin

    @pytest.mark.parametrize(("heading", "changed"), ALL_WAYS_BUT_ONE_SLOW)
    def test_a_reload(self, waiting: Any, heading: str, changed: Any, own_writer: ResultWriter) -> None:
        """The old worker stays until the request has its result; the new one serves meanwhile."""
        server, task_id, call = waiting(configured(heading, workers=1, **changed))
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "Handling signal: hup" in server.log(), "the reload")
        old = first_worker(server)
        wait_until(lambda: server.get("/")[1]["pid"] != old, "the new worker")
        own_writer.write(task_id, "late")
        assert call.outcome() == (200, {"value": "late", "pid": old})
        wait_until(lambda: not running(old), "the old worker to end")
        assert trouble(server) == []

    @pytest.mark.parametrize(("heading", "changed"), WAYS)
    def test_a_stop(self, waiting: Any, heading: str, changed: Any, own_writer: ResultWriter) -> None:
        """The master waits for it, and ends."""
        server, task_id, call = waiting(configured(heading, workers=1, **changed))
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.log(), "the stop")
        own_writer.write(task_id, "late")
        assert call.outcome()[0] == 200
        assert server.wait(10)
        assert trouble(server) == []

    @pytest.mark.slow
    def test_an_end_of_patience(self, waiting: Any, own_writer: ResultWriter) -> None:
        """With the hooks it is not gunicorn's SIGKILL that ends a worker whose threads wait too long."""
        server, task_id, call = waiting(
            HOOKS + configured("gunicorn, threads", workers=1, graceful_timeout=1, timeout=0), timeout=1000.0
        )
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        pid = first_worker(server)
        # To the worker, and not to the master, which kills whoever is not ready in time.
        os.kill(pid, signal.SIGTERM)
        assert call.outcome() == (500, {"error": "WatcherClosedError", "pid": pid})
        wait_until(lambda: not running(pid), "the worker to end")
        wait_until(lambda: task_id not in own_writer.channels(), "the subscription to end")
        assert trouble(server) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("hooks", [HOOKS, ""], ids=["hooks", "none"])
    def test_an_end_of_patience_of_greenlets(self, waiting: Any, own_writer: ResultWriter, hooks: str) -> None:
        """gunicorn kills the greenlet of the request."""
        patched, rest = block("gunicorn, gevent with preload", "python").split("patch_all()\n")
        configuration = f"{patched}patch_all()\n{hooks}{rest}\nworkers = 1\ngraceful_timeout = 1\ntimeout = 0\n"
        server, task_id, call = waiting(configuration, timeout=1000.0)
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        pid = first_worker(server)
        os.kill(pid, signal.SIGTERM)
        with pytest.raises(ConnectionError):
            call.outcome()
        wait_until(lambda: not running(pid), "the worker to end")
        wait_until(lambda: task_id not in own_writer.channels(), "the subscription to end")
        assert [line.partition("] [WARNING] ")[2] for line in trouble(server)] == [
            f"Worker graceful timeout (pid:{pid})"
        ]

    @pytest.mark.slow
    def test_a_sync_worker_that_takes_too_long(self, waiting: Any, own_writer: ResultWriter) -> None:
        """gunicorn kills it, the client gets what gunicorn gives, and the next worker works."""
        # Less, and a busy machine has not even begun with the request by then.
        server, task_id, _call = waiting(configured("gunicorn, sync workers", workers=1, timeout=4))
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        pid = first_worker(server)
        wait_until(lambda: not running(pid), "the worker to end", 15)
        assert "WORKER TIMEOUT" in server.log()
        assert "Fatal Python error" not in server.log()
        wait_until(lambda: task_id not in own_writer.channels(), "the subscription to end")
        assert server.get("/add?x=1&y=2")[1]["value"] == 3

    @pytest.mark.slow
    @pytest.mark.parametrize("heading", ["gunicorn, threads", "gunicorn, gevent", "gunicorn, gevent with preload"])
    def test_a_request_that_outlasts_the_timeout(self, waiting: Any, heading: str, own_writer: ResultWriter) -> None:
        """It limits no request of these workers: they go on telling the master that they live."""
        server, task_id, call = waiting(configured(heading, workers=1, timeout=TIMEOUT))
        began = time.monotonic()
        wait_until(lambda: task_id in own_writer.channels(), "the request to wait")
        while time.monotonic() < began + 2 * TIMEOUT:
            assert server.get("/")[0] == 200
            time.sleep(0.1)
        own_writer.write(task_id, "late")
        assert call.outcome() == (200, {"value": "late", "pid": first_worker(server)})
        assert trouble(server) == []


def first_worker(server: WebServer) -> int:
    """Its process id."""
    return int(server.log().split("Booting worker with pid: ")[1].split()[0])


def running(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def own_writer(redis_server: RedisServer) -> Iterator[ResultWriter]:
    """Writes results that no worker writes."""
    writer = ResultWriter(redis_server)
    yield writer
    writer.close()
