"""The status of web workers that were forked from a master: one socket each, from the first use to the end."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from pathlib import Path

from bgresults.diagnosis import ask_all
from bgresults.status.wanted import STATUS_DIR
from bgresults.testing import RedisServer
from bgresults.testing.web import WebServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

WAIT = 20
APP = """
import os
from bgresults import ResultWatcher

watcher = ResultWatcher(os.environ["RESULTS"], key_prefix=os.environ["PREFIX"], name="shop")

def app(environ, start_response):
    task_id = environ["PATH_INFO"].strip("/")
    if task_id:
        watcher.watch(task_id).result(20)
    start_response("200 OK", [])
    return [b"ok"]
"""


def answering(folder: Path) -> set[int]:
    """Process ids."""
    statuses = [answer.status for answer in ask_all(folder, timeout=WAIT) if answer.status is not None]
    assert all([told["health"]["name"] for told in status["watchers"]] == ["shop"] for status in statuses)
    return {status["pid"] for status in statuses}


def test_each_worker_answers(redis_server: RedisServer, writer: ResultWriter, key_prefix: str, folder: Path) -> None:
    task_id = new_id()
    writer.write(task_id, 1)
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-k", "gthread", "--threads", "2"]
    server = WebServer(
        [*command, "--chdir", "{folder}", "-b", "127.0.0.1:{port}", "shop:app"],
        files={"shop.py": APP},
        python_path=[Path(__file__).resolve().parents[2]],
        env={
            "RESULTS": redis_server.url(),
            "PREFIX": key_prefix,
            STATUS_DIR: str(folder),
            # Where gunicorn has its control socket.
            "HOME": str(folder.parent),
        },
    )
    page = f"http://127.0.0.1:{server.port}/{task_id}"

    def asked_until(count: int, but: int = 0) -> set[int]:
        def there() -> bool:
            with urllib.request.urlopen(page, timeout=WAIT) as response:
                response.read()
            return len(answering(folder) - {but}) == count

        wait_until(there, f"{count} workers to answer", timeout=WAIT)
        return answering(folder)

    try:
        server.start()
        assert not folder.exists(), "the master has made a watcher, and nobody has used it"
        victim, _ = asked_until(2)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in answering(folder), "its end")
        asked_until(2, but=victim)
        assert victim not in {int(path.stem.rpartition("-")[2]) for path in folder.iterdir()}, "its socket is removed"
    finally:
        server.close()
    assert list(folder.iterdir()) == []
