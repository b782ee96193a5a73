"""A project as a reader of docs/django.md makes one: ``startproject``, and what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from bgresults.testing import CeleryWorker, RedisServer
from bgresults.testing.processes import OwnedProcess
from bgresults.testing.servers import free_port
from tests.support import wait_until

__all__ = ["DOCS", "ROOT", "NewProject", "documented_files"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "django.md"
# Where the page says that everything is.
_DOCUMENTED_URL = "redis://localhost:6379/0"


def documented_files() -> dict[str, str]:
    """Path → content of the files that the page shows; they begin with a comment that names them."""
    blocks = re.findall(r"```python\n# (proj/\w+\.py)(?:, at the end)?\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return dict(blocks)


class NewProject:
    """A folder with a project in it, and what runs there. Everything ends with :meth:`close`.

    Args:
        folder: empty.
        server: a Redis of its own, for tasks and results.
        packages: folders that are looked into before anything that is installed, such as one with another Django.
    """

    def __init__(self, folder: Path, server: RedisServer, packages: Sequence[Path] = ()) -> None:
        self.path = folder / "proj"
        self._url = server.url()
        # By the address of the server.
        self._running: dict[str, OwnedProcess] = {}
        self._worker: CeleryWorker | None = None
        self.python_path = [str(self.path), *map(str, packages), str(ROOT)]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
            "PYTHONPATH": os.pathsep.join(self.python_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.run("-m", "django", "startproject", "proj", cwd=folder)
        for name, content in documented_files().items():
            self.write(name, content.replace(_DOCUMENTED_URL, self._url))

    def write(self, name: str, content: str) -> None:
        """Append to a file of the project; settings.py has something in it already, and urls.py is written anew."""
        file = self.path / name
        before = file.read_text() if name.endswith("settings.py") else ""
        file.write_text(before + content)

    def run(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python, to the end; raises unless it ends well."""
        ended = self.call(*words, cwd=cwd, **environment)
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended

    def call(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python, to the end."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=cwd or self.path,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def start_worker(self) -> CeleryWorker:
        """``celery -A proj worker``."""
        self._worker = CeleryWorker("proj", concurrency=1, python_path=self.python_path, cwd=self.path)
        return self._worker.start()

    def serve(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """Start a web server with these words, ``PORT`` among them; returns its address once it answers."""
        port = str(free_port())
        log = self.path / f"server-{port}.log"
        process = OwnedProcess(
            [sys.executable, *(word.replace("PORT", port) for word in words)],
            log=log,
            env={**self._environment, **(environment or {})},
            cwd=self.path,
        )
        address = f"http://127.0.0.1:{port}"
        self._running[address] = process

        def answers() -> bool:
            assert process.running, process.log_tail()
            try:
                get(f"{address}/nothing/")
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True

        wait_until(answers, f"the web server: {process.log_tail()}", 40)
        return address

    def stop(self, address: str, timeout: float) -> bool:
        """Send TERM to the server at that address; whether it has ended ``timeout`` seconds later."""
        self._running[address].send_signal(signal.SIGTERM)
        return self._running[address].wait(timeout)

    def close(self) -> None:
        """End everything."""
        for process in self._running.values():
            process.end(grace=5.0)
        if self._worker is not None:
            self._worker.close()


def get(url: str, timeout: float = 30) -> str:
    """The body that is answered; raises ``HTTPError`` for another status than 200."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        body: bytes = response.read()
        return body.decode()
