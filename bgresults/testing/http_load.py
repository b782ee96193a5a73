"""Many requests at once, from a process of their own: ``python -m bgresults.testing.http_load URL COUNT THREADS``.

Request number *n* is ``GET <URL>?x=<n>&y=1``, and its right answer is JSON with ``"value": <n + 1>``, and the ``"pid"``
of the process that gave it. Each goes over a connection of its own, so that a worker that ends closes none that is
idle. An attempt that got no byte of an answer is made again, as a proxy in front of the server does; an answer is not.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Load", "LoadReport"]

_ATTEMPTS = 5
# Of one attempt, in seconds.
_PATIENCE = 60.0


@dataclass
class LoadReport:
    """What became of the requests.

    Attributes:
        right: how many were answered rightly.
        wrong: the first of the other answers, as text.
        statuses: status → how many answers had it.
        lost: what became of the first of the requests that were never answered.
        unanswered: attempts without a byte of an answer, that were made again.
        pids: of the processes that gave right answers.
        seconds: from the first request to the last answer.
        latencies: seconds that each rightly answered request took, in the order of their ends.
    """

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    unanswered: int = 0
    pids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class Load:
    """The owner of the process. It begins at once."""

    def __init__(self, url: str, count: int, threads: int) -> None:
        # A file: nobody reads while the requests are under way, and a pipe takes 64 KiB.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the owner
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, url, str(count), str(threads)], stdout=self._output
        )

    def report(self, timeout: float) -> LoadReport:
        """Wait until all requests have ended.

        Raises:
            subprocess.TimeoutExpired: they have not, after ``timeout`` seconds; the process is ended.
        """
        try:
            self._process.wait(timeout)
            self._output.seek(0)
            return LoadReport(**json.load(self._output))
        finally:
            self.close()

    @property
    def running(self) -> bool:
        """Whether requests are still under way."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._output.close()


class _Driver:
    """The threads of the process, and what they find."""

    def __init__(self, url: str, count: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "localhost", parts.port or 80)
        self._path = parts.path or "/"
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._pids: set[int] = set()
        self.report = LoadReport()

    def run(self, threads: int) -> LoadReport:
        began = time.monotonic()
        running = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        self.report.seconds = time.monotonic() - began
        self.report.statuses = dict(self._statuses)
        self.report.pids = sorted(self._pids)
        return self.report

    def _work(self) -> None:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            self._request(number)

    def _request(self, number: int) -> None:
        report = self.report
        began = time.monotonic()
        for attempt in itertools.count(1):
            try:
                status, body = self._attempt(number)
            except (OSError, http.client.HTTPException) as error:
                if attempt < _ATTEMPTS and isinstance(error, ConnectionError):
                    with self._lock:
                        report.unanswered += 1
                    time.sleep(0.05 * attempt)
                    continue
                with self._lock:
                    report.lost.append(f"{number}: {type(error).__name__}: {error}")
                return
            with self._lock:
                self._statuses[str(status)] += 1
                answer = _decoded(body)
                if status == 200 and answer.get("value") == number + 1:
                    report.right += 1
                    self._pids.add(answer.get("pid", 0))
                    report.latencies.append(time.monotonic() - began)
                elif len(report.wrong) < 20:
                    report.wrong.append(f"{number}: {status} {body[:200]!r}")
            return

    def _attempt(self, number: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._address, timeout=_PATIENCE)
        try:
            connection.request("GET", f"{self._path}?x={number}&y=1", headers={"Connection": "close"})
            if connection.sock is not None:
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            response = connection.getresponse()
            try:
                return response.status, response.read()
            except OSError as error:
                raise http.client.HTTPException(f"half an answer: {error}") from error
        finally:
            connection.close()


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


if __name__ == "__main__":
    print(json.dumps(asdict(_Driver(sys.argv[1], int(sys.argv[2])).run(int(sys.argv[3])))))
