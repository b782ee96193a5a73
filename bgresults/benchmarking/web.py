"""Web servers whose requests wait for results, each in its own way."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bgresults.benchmarking.contenders import CELERY, OURS
from bgresults.benchmarking.lab import Lab
from bgresults.benchmarking.question import Question
from bgresults.benchmarking.web_app import ENVIRONMENT_VARIABLE
from bgresults.testing.http_load import Load, LoadReport
from bgresults.testing.servers import RedisServer
from bgresults.testing.sockets import connections_to
from bgresults.testing.web import WebServer
from bgresults.testing.workers import CeleryWorker

__all__ = ["WebContender", "WebQuestion", "web_contenders"]

_MODULE = "bgresults.benchmarking.web_app"
# Seconds until a load that does not end is given up.
_PATIENCE = 300.0


@dataclass(frozen=True, kw_only=True)
class WebQuestion(Question):
    """One that needs gunicorn as well."""

    def lacking(self) -> str | None:
        """A redis-server, gunicorn, or a Linux to count on."""
        if not Path("/proc/self/stat").exists():
            return "no /proc: processor time and connections are counted on Linux only"
        if importlib.util.find_spec("gunicorn") is None:
            return "no gunicorn: pip install gunicorn"
        return super().lacking()


class WebContender:
    """A running gunicorn whose requests wait in one way.

    Attributes:
        name: of the way.
    """

    def __init__(self, name: str, server: WebServer, port: int) -> None:
        self.name = name
        self._server = server
        self._port = port

    def serve(self, requests: int, threads: int) -> LoadReport:
        """Have it answer so many requests, that come from so many threads of another process."""
        return Load(self._server.url, requests, threads).report(_PATIENCE)

    def cpu_seconds(self) -> float:
        """What its workers have used so far, at 100 Hz."""
        return sum(map(_cpu_seconds, _children(self._server.pid)))

    def connections(self, report: LoadReport) -> int:
        """The most that one of the workers that answered has to the result backend; they stay open."""
        return max((connections_to(self._port, pid) or 0 for pid in report.pids), default=0)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _cpu_seconds(pid: int) -> float:
    # The name, which is in parentheses, may have spaces. User and system time are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def web_contenders(lab: Lab, *, workers: int, threads: int) -> Iterator[list[WebContender]]:
    """gunicorn with both modes of Celery, and with ours; one Celery worker behind all of them."""
    command = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:{port}", "--preload", "-k", "gthread"]
    command += ["--workers", str(workers), "--threads", str(threads), f"{_MODULE}:application"]
    with contextlib.ExitStack() as stack:
        # A server of its own for the tasks: what connects to the other one does so for results.
        broker = stack.enter_context(RedisServer())
        settings = {"broker": broker.url(), "backend": lab.url}
        stack.enter_context(CeleryWorker(_MODULE, env={ENVIRONMENT_VARIABLE: json.dumps(settings)}))
        contenders = []
        for name in (*CELERY, OURS):
            environment = {ENVIRONMENT_VARIABLE: json.dumps({**settings, "way": name})}
            server = stack.enter_context(WebServer(command, env=environment))
            contenders.append(WebContender(name, server, lab.server.port))
        yield contenders
