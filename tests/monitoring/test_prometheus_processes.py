"""Several processes, with the settings of docs/monitoring.md."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults.testing import RedisServer
from bgresults.testing.web import WebServer
from tests.monitoring.scrape import Scrape
from tests.servers.page import block
from tests.support.calls import Caller
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
HEADING = "Prometheus, several processes"

# Of an application that is loaded in the master, and waits for a result there.
APP = """
import json
import os

import redis

from bgresults import ResultWatcher
from metrics import metrics

watcher = ResultWatcher(os.environ["BGRESULTS_TEST_BACKEND"], name="reports")
server = redis.Redis.from_url(os.environ["BGRESULTS_TEST_BACKEND"])
server.set("celery-task-meta-in-the-master", json.dumps({"task_id": "in-the-master", "status": "SUCCESS", "result": 1}))
watcher.watch("in-the-master").result(20)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    answer = {"pid": os.getpid()}
    kind, _, task_id = environ["PATH_INFO"].strip("/").partition("/")
    if kind == "wait":
        answer["result"] = watcher.watch(task_id).result(20)
    elif kind == "keep":
        watcher.watch(task_id).add_done_callback(print)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


@pytest.fixture
def web(own_redis: RedisServer) -> Iterator[WebServer]:
    configuration = block(HEADING, "python", page=PAGE)
    code = PAGE.read_text(encoding="utf-8").partition("# proj/metrics.py\n")[2].partition("```")[0]
    command = [sys.executable, "-m", "gunicorn", "-c", "{folder}/gunicorn.conf.py", "-b", "127.0.0.1:{port}"]
    server = WebServer(
        [*command, "--workers", "2", "--preload", "--chdir", "{folder}", "app:app"],
        files={"gunicorn.conf.py": configuration, "metrics.py": code, "app.py": APP},
        python_path=[ROOT],
        env={"BGRESULTS_TEST_BACKEND": own_redis.url()},
    )
    with server:
        yield server


def get(server: WebServer, path: str) -> str:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=20) as answer:
        return bytes(answer.read()).decode()


def scrape(server: WebServer) -> Scrape:
    return Scrape(get(server, "/metrics"))


def value(server: WebServer, sample: str, **labels: str) -> float:
    try:
        found = scrape(server)
    except urllib.error.HTTPError:
        # prometheus_client gives up at a file that another process is creating at this moment: its issue 1199.
        assert "unpack_from requires a buffer of at least 4 bytes" in server.log()
        return -1
    # Nothing is written yet in the first moments of a worker.
    return found.value(sample, watcher="reports", **labels) if found.has(sample) else -1


def in_both(server: WebServer, writer: ResultWriter) -> set[int]:
    """Have each of two workers wait for a result, both at a time; returns their ids."""
    ids = [new_id(), new_id()]
    calls = [Caller(lambda task_id=task_id: json.loads(get(server, f"/wait/{task_id}"))) for task_id in ids]  # type: ignore[misc]
    wait_until(lambda: writer.channels() >= set(ids), "both to wait")
    for task_id in ids:
        writer.write(task_id, task_id)
    answers = [call.outcome() for call in calls]
    assert [answer["result"] for answer in answers] == ids
    return {answer["pid"] for answer in answers}


def test_a_scrape_of_two_workers_has_the_sums(web: WebServer, own_redis: RedisServer) -> None:
    writer = ResultWriter(own_redis)
    workers = in_both(web, writer)
    assert len(workers) == 2
    workers |= in_both(web, writer)
    kept = new_id()
    keeper = json.loads(get(web, f"/keep/{kept}"))["pid"]
    # One in the master, which the workers were forked from: counted once.
    resolved = {"watcher": "reports", "outcome": "resolved"}
    wait_until(lambda: value(web, "bgresults_ended_total", outcome="resolved") == 5, "all to be written")
    wait_until(lambda: value(web, "bgresults_pending") == 1, "the one that is pending to be written")
    # One value after the other, and somebody may look in between.
    wait_until(lambda: value(web, "bgresults_watched_total") == 6, "the watches to be written")
    wait_until(lambda: value(web, "bgresults_wait_seconds_count", outcome="resolved") == 5, "the times to be written")
    found = scrape(web)
    assert found.value("bgresults_watched_total", watcher="reports") == 6
    assert found.value("bgresults_wait_seconds_count", **resolved) == 5
    assert found.value("bgresults_wait_seconds_bucket", le="+Inf", **resolved) == 5
    assert 0 < found.value("bgresults_wait_seconds_sum", **resolved) < 100
    # The two workers, and the master.
    assert found.value("bgresults_threads", watcher="reports") == 3
    assert found.value("bgresults_connected", watcher="reports") == 3
    assert found.value("bgresults_state", watcher="reports", state="draining") == 3
    assert found.families["bgresults_wait_seconds"].type == "histogram"
    assert not any("pid" in sample.labels for family in found.families.values() for sample in family.samples)

    # A worker that is killed takes its gauges with it, and leaves what it has counted.
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: value(web, "bgresults_pending") == 0, "the gauges of the dead worker to go")
    assert value(web, "bgresults_ended_total", outcome="resolved") == 5
    assert keeper not in in_both(web, writer)
    wait_until(lambda: value(web, "bgresults_ended_total", outcome="resolved") == 7, "those of the new worker")
    assert value(web, "bgresults_connected") == 3
    writer.close()


PROGRAM = """
import json, os, sys
import redis
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from bgresults import ResultWatcher
from bgresults.integrations.prometheus import install
from tests.support import wait_until

url = sys.argv[1]
installation = install(interval=3600)
watcher = ResultWatcher(url, name="reports")
server = redis.Redis.from_url(url)

def resolve(task_id):
    body = json.dumps({"task_id": task_id, "status": "SUCCESS", "result": 1})
    server.set("celery-task-meta-" + task_id, body)
    counted = watcher.stats().resolved
    assert watcher.watch(task_id).result(20) == 1
    # A moment after whoever waits for it is told.
    wait_until(lambda: watcher.stats().resolved > counted, "it to be counted")

def scrape():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry).decode()

"""


def run(program: str, folder: Path, url: str, **environment: str) -> str:
    done = subprocess.run(
        # From 3.12 on Python warns of a fork beside threads, which is what is tried here.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + textwrap.dedent(program), url],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_was_counted_is_written_at_the_end(tmp_path: Path, redis_url: str) -> None:
    """By the process, and by a child that ends in its own way."""
    run(
        f"""
        resolve("{new_id()}")
        pid = os.fork()
        if pid == 0:
            resolve("{new_id()}")
            installation.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        resolve("{new_id()}")
        """,
        tmp_path,
        redis_url,
    )
    found = Scrape(run("print(scrape())", tmp_path, redis_url))
    assert found.value("bgresults_ended_total", watcher="reports", outcome="resolved") == 3
    # Nobody has removed the files of the child, which did not end by the book.
    assert found.value("bgresults_threads", watcher="reports") == 1


def test_undone(tmp_path: Path, redis_url: str) -> None:
    printed = run(
        f"""
        resolve("{new_id()}")
        installation.undo()
        installation.undo()
        resolve("{new_id()}")
        print(scrape())
        """,
        tmp_path,
        redis_url,
    )
    found = Scrape(printed)
    assert found.value("bgresults_ended_total", watcher="reports", outcome="resolved") == 1
    assert found.value("bgresults_connected", watcher="reports") == 0


def test_a_directory_that_is_gone(tmp_path: Path, redis_url: str) -> None:
    """Which prometheus_client tells only a child, in words of its own."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    printed = run(
        f"""
        import logging
        import shutil

        # The thread that writes says so as well, whenever its second is over.
        logging.disable()
        resolve("{new_id()}")
        installation.flush()
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        installation.flush()
        pid = os.fork()
        if pid == 0:
            resolve("{new_id()}")
            for _ in range(2):
                try:
                    installation.flush()
                except OSError as error:
                    print(error, flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        folder,
        redis_url,
    )
    assert printed.count("PROMETHEUS_MULTIPROC_DIR") == len(printed.splitlines()) == 2


def test_installed_twice(tmp_path: Path, redis_url: str) -> None:
    """Before the fork and in the child, as somebody does who is not sure: nothing is counted twice."""
    printed = run(
        f"""
        def refused():
            try:
                install()
            except ValueError as error:
                assert "call install() once" in str(error)
                return True
        assert refused()
        pid = os.fork()
        if pid == 0:
            assert refused()
            resolve("{new_id()}")
            installation.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        resolve("{new_id()}")
        installation.undo()
        assert refused(), "it would write all that was counted once more"
        print(scrape())
        """,
        tmp_path,
        redis_url,
    )
    assert Scrape(printed).value("bgresults_ended_total", watcher="reports", outcome="resolved") == 2


def test_two_watchers_one_after_the_other(tmp_path: Path) -> None:
    program = """
        from bgresults import ResultWatcher
        from bgresults.integrations.prometheus import install

        def refused(watcher):
            try:
                install(watcher)
            except ValueError:
                return True

        one, other = ResultWatcher("redis://localhost", name="one"), ResultWatcher("redis://localhost", name="other")
        install(one).undo()
        install(other)
        assert refused(one) and refused(other) and refused(None)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/nowhere'", "ValueError: PROMETHEUS_MULTIPROC_DIR must"),
        (
            "import os, prometheus_client; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp'",
            "RuntimeError: PROMETHEUS_MULTIPROC_DIR was set after",
        ),
    ],
)
def test_a_directory_that_makes_no_sense(program: str, words: str) -> None:
    source = f"{program}\nfrom bgresults.integrations.prometheus import install\ninstall()"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert words in done.stderr.splitlines()[-1]
