"""Web servers to test against: whatever serves HTTP on a port of the loopback interface."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgresults.testing.processes import OwnedFolder, OwnedProcess
from bgresults.testing.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["WebServer"]


class WebServer:
    """The owner of one web server, with its workers, in a process group of its own.

    Args:
        command: the program and its arguments; ``{port}`` in one of them stands for the port, ``{folder}`` for
            :attr:`folder`.
        port: a fixed port; None means a free one.
        files: name → text of files to put into :attr:`folder`, such as a configuration.
        python_path: folders that the server can import from, the application's among them.
        env: environment variables, added to those of this process.
        ready: a path that answers with any status when the application is there.
        start_timeout: seconds until a server that does not answer is given up.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        files: Mapping[str, str] | None = None,
        python_path: Sequence[Path | str] = (),
        env: Mapping[str, str] | None = None,
        ready: str = "/",
        start_timeout: float = 30.0,
    ) -> None:
        self.port = port or free_port()
        self._owned_folder = OwnedFolder("bgresults-web-")
        self.folder = self._owned_folder.path
        self.log_path = self.folder / "server.log"
        for name, text in (files or {}).items():
            (self.folder / name).write_text(text)
        places = {"{port}": str(self.port), "{folder}": str(self.folder)}
        self._command = [_filled(word, places) for word in command]
        environment = {**os.environ, **(env or {}), "TMPDIR": str(self.folder)}
        path = [*map(str, python_path), environment.get("PYTHONPATH", "")]
        self._environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        self._ready = ready
        self._start_timeout = start_timeout
        self._process: OwnedProcess | None = None

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that was started: of servers that fork, the master."""
        return self._started().pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._started().exit_code

    def start(self) -> Self:
        """Start the server and wait until its application answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        process = OwnedProcess(self._command, log=self.log_path, env=self._environment, cwd=self.folder)
        deadline = time.monotonic() + self._start_timeout
        try:
            while not self._answers():
                if not process.running or time.monotonic() >= deadline:
                    state = "did not answer in time" if process.running else f"ended with code {process.exit_code}"
                    raise RuntimeError(f"the web server {state}; its last words:\n{process.log_tail(40)}")
                time.sleep(0.02)
        except BaseException:
            process.end(grace=0.0)
            raise
        self._process = process
        return self

    def get(self, path: str, timeout: float = 30.0) -> tuple[int, Any]:
        """GET a path on a connection of its own; return the status and the decoded JSON, or the text.

        Raises:
            OSError, http.client.HTTPException: there was no whole answer.
        """
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.getheader("Content-Type", "").startswith("application/json"):
            return response.status, json.loads(body)
        return response.status, body.decode(errors="replace")

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process that was started."""
        self._started().send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Wait until that process has ended, for ``timeout`` seconds; whether it has."""
        return self._started().wait(timeout)

    def log(self) -> str:
        """Everything that the server and its workers wrote."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def close(self, grace: float = 5.0) -> None:
        """End the server, everything in its group after ``grace`` seconds, and remove its folder."""
        if self._process is not None:
            self._process.end(grace)
        self._owned_folder.remove()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> OwnedProcess:
        if self._process is None:
            raise RuntimeError("the web server was not started")
        return self._process

    def _answers(self) -> bool:
        try:
            self.get(self._ready, timeout=5.0)
        except (OSError, http.client.HTTPException):
            return False
        return True


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, text in places.items():
        word = word.replace(place, text)
    return word
