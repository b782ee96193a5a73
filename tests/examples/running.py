"""The examples, started as their readers start them: by their own launcher."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bgresults.testing.processes import OwnedFolder, OwnedProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Launched"]

ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(r"^Open (http://[0-9.:]+)/ in a browser", re.MULTILINE)


class Launched:
    """``python -m examples.launch …`` while this is entered.

    Args:
        arguments: of the launcher.
        env: environment variables, added to those of this process.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._folder = OwnedFolder("bgresults-launched-")
        self._log = self._folder.path / "launcher.log"
        #: Where everything that it starts keeps its files.
        self.temporary = self._folder.path / "tmp"
        self.temporary.mkdir()
        self._process = OwnedProcess(
            [sys.executable, "-m", "examples.launch", *arguments],
            log=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), **(env or {})},
            cwd=ROOT,
        )

    def serving(self) -> Self:
        """Return as soon as its pages can be asked for."""
        wait_until(lambda: _ADDRESS.search(self.output) or not self._process.running, "the example", timeout=40.0)
        assert self._process.running, f"the example has ended:\n{self.output}"
        return self

    @property
    def url(self) -> str:
        """Of its pages, without a slash at the end."""
        found = _ADDRESS.search(self.output)
        assert found is not None, f"no address in:\n{self.output}"
        return found[1]

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """The pids and command lines of what it has started, and of itself."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                # What it starts has folders of its own for temporary files, below this one.
                if b"\0TMPDIR=%s" % os.fsencode(self.temporary) in b"\0" + (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # It ended in the meantime, or is somebody else's.
        return found

    def gunicorn(self) -> tuple[int, list[int]]:
        """The pids of the master, and of its workers. The lowest need not be the oldest: pids begin anew."""
        pids = [pid for pid, command in self.processes().items() if "gunicorn" in command]
        (master,) = [pid for pid in pids if _parent_of(pid) not in pids]
        return master, [pid for pid in pids if pid != master]

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def exit_code(self, timeout: float = 20.0) -> int:
        """Wait until it has ended."""
        assert self._process.wait(timeout), f"still there after {timeout:g} s:\n{self.output}"
        code = self._process.exit_code
        assert code is not None
        return code

    def close(self) -> None:
        """End it as ``kill`` does, and remove its files."""
        self._process.end(grace=15.0)
        self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parent_of(pid: int) -> int:
    # After the name, which may have anything in it, but for the last parenthesis.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
