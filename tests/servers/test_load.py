"""gunicorn under load, reloaded, and with the server of the results restarted: nothing is wrong, nothing is lost.

The broker is a RabbitMQ, the results are in a Redis of the test's own: every connection to that one is for results,
and it can be killed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from bgresults.testing import RedisServer
from bgresults.testing.http_load import Load, LoadReport
from bgresults.testing.sockets import connections_to
from bgresults.testing.web import WebServer
from tests.servers.conftest import Gunicorn
from tests.servers.page import block
from tests.support.rpc_workers import rpc_settings
from tests.support.waiting import wait_until
from tests.support.workers import TaskWorker

pytestmark = pytest.mark.rabbitmq

CONFIGURATION = block("gunicorn, threads", "python")
THREADS = 64
# Until something has gone wrong, on a busy machine too.
SECONDS = 250


@pytest.fixture
def durable_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """One that loses nothing that it has acknowledged, when it is killed; the shared one says if there can be none."""
    with RedisServer(args=["--appendonly", "yes", "--appendfsync", "always"]) as server:
        yield server


@pytest.fixture
def busy_worker(durable_redis: RedisServer, rabbitmq_url: str) -> Iterator[TaskWorker]:
    """A worker with these two."""
    settings = {
        **rpc_settings(rabbitmq_url, case="load"),
        "result_backend": durable_redis.url(),
        # Without these two a worker throws a result away that it cannot store: see docs/deployment.md.
        "result_backend_always_retry": True,
        "result_backend_max_sleep_between_retries_ms": 500,
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
    }
    del settings["case"]
    worker = TaskWorker(settings, 2)
    worker.process.start()
    yield worker
    worker.process.close()


class Run:
    """One load, and how many connections for results each worker has meanwhile."""

    def __init__(self, server: WebServer, redis: RedisServer, requests: int) -> None:
        self.server, self.redis = server, redis
        self.most: dict[int, int] = {}
        self.load = Load(f"{server.url}/add", requests, THREADS)
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def _sample(self) -> None:
        while self.load.running:
            for pid in self.workers():
                self.most[pid] = max(self.most.get(pid, 0), connections_to(self.redis.port, pid) or 0)
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """All that there were so far, the oldest first."""
        return [int(part.split()[0]) for part in self.server.log().split("Booting worker with pid: ")[1:]]

    def reload(self) -> None:
        """HUP."""
        before = self.server.log().count("Handling signal: hup")
        self.server.send_signal(signal.SIGHUP)
        wait_until(lambda: self.server.log().count("Handling signal: hup") > before, "the reload", 30)

    def finish(self, workers: int, seconds: float) -> LoadReport:
        """Wait for the end of the load, and judge what does not depend on what was done meanwhile."""
        report = self.load.report(seconds)
        self._sampler.join()
        rate = len(report.latencies) / report.seconds
        print(f"{rate:.0f} requests/s, {report.unanswered} attempts unanswered, connections {self.most}")
        assert (report.wrong, report.lost, set(report.statuses)) == ([], [], {"200"}), self.server.log()[-4000:]
        assert max(self.most.values()) == 2
        assert set(report.pids) <= set(self.workers())
        serving = self.workers()[-workers:]
        wait_until(
            lambda: all((connections_to(self.redis.port, pid) or 0) in (0, 2) for pid in serving), "two, or none"
        )
        assert connections_to(self.redis.port, self.server.pid) == 0, "the master has none"
        assert "Traceback" not in self.server.log()
        return report

    def close(self) -> None:
        """End the load."""
        self.load.close()
        self._sampler.join()


@pytest.mark.parametrize(
    ("requests", "workers"), [(200, 2), pytest.param(5000, 4, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
class TestNothingIsLost:
    """``requests`` from 64 threads of another process."""

    @pytest.fixture
    def run(
        self, gunicorn: Gunicorn, busy_worker: TaskWorker, durable_redis: RedisServer, requests: int, workers: int
    ) -> Iterator[Run]:
        """Preloaded, 16 threads in each worker."""
        server = gunicorn(f"{CONFIGURATION}\nworkers = {workers}\n", busy_worker.settings)
        run = Run(server, durable_redis, requests)
        yield run
        run.close()

    @pytest.mark.slow
    def test_undisturbed(self, run: Run, requests: int, workers: int) -> None:
        report = run.finish(workers, SECONDS)
        assert (report.right, report.unanswered) == (requests, 0)

    @pytest.mark.slow
    def test_reloaded(self, run: Run, requests: int, workers: int) -> None:
        """After each fifth of the requests."""
        for fifth in range(1, 5):
            wait_until(lambda n=fifth: stored(run.redis) > requests * n // 5, f"fifth {fifth}", SECONDS)  # type: ignore[misc]
            run.reload()
        report = run.finish(workers, SECONDS)
        assert report.right == requests
        assert len(report.pids) > workers

    def test_restarted_in_the_middle(self, run: Run, requests: int, workers: int) -> None:
        """The Redis is killed, and comes back half a second after gunicorn was reloaded."""
        # Early: the old workers have accepted 64 requests more by now, and the new ones are to get some as well.
        wait_until(lambda: stored(run.redis) > requests // 20, "the first results", SECONDS)
        run.redis.kill()
        before = len(run.workers())
        run.reload()
        # The old workers could be through with all of it otherwise before a new one has started.
        wait_until(lambda: len(run.workers()) >= before + workers, "the new workers", 60)
        time.sleep(0.5)
        run.redis.start()
        report = run.finish(workers, SECONDS)
        assert report.right == requests
        assert len(report.pids) > workers


def stored(redis: RedisServer) -> int:
    """How many results are stored."""
    return int(redis.command("DBSIZE"))
