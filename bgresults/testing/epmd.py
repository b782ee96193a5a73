""":class:`Epmd`: Erlang's directory of nodes, for one of ours alone."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from bgresults.testing.processes import OwnedProcess
from bgresults.testing.servers import LOOPBACK, free_port

__all__ = ["Epmd"]


class Epmd:
    """An ``epmd`` on a free port. One that a node starts for itself would be everybody's, and outlive it.

    Args:
        folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: OwnedProcess | None = None
        #: Known from the first :meth:`start` on.
        self.port = 0

    @staticmethod
    def available() -> bool:
        """Whether there is one on PATH."""
        return shutil.which("epmd") is not None

    def start(self, timeout: float) -> None:
        """Start it and wait until it listens. Does nothing if it runs already.

        Raises:
            RuntimeError: it does not, with the end of its log.
        """
        if self._process is not None and self._process.running:
            return
        problem = ""
        for _ in range(5):
            port = free_port()
            command = ["epmd", "-port", str(port), "-address", LOOPBACK]
            process = OwnedProcess(command, log=self._folder / "epmd.log", cwd=self._folder)
            deadline = time.monotonic() + timeout
            while process.running and time.monotonic() < deadline:
                if _listens(port):
                    self.port, self._process = port, process
                    return
                time.sleep(0.01)
            problem = process.log_tail()
            process.end(grace=0.0)
        raise RuntimeError(f"epmd did not start; its last words:\n{problem}")

    def end(self) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.end(grace=0.0)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True
