"""Processes that do not outlive the one that started them.

Three things end such a process: its owner, the garbage collection of its owner together with the exit of the
interpreter, and, where the interpreter gets no chance to clean up (SIGKILL, ``os._exit()``, which is how
pytest-timeout ends a run), a small guard process that notices that its pipe is closed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["OwnedFolder", "OwnedProcess", "start_guard"]

_GUARD_PROGRAM = """
import os, shutil, signal, sys, time
kept = set()
for line in sys.stdin:
    (kept.add if line[0] == "+" else kept.discard)(line[1:-1])
for kind, _, name in sorted(word.partition(" ") for word in kept):
    if kind == "1-group":
        try:
            os.killpg(int(name), signal.SIGKILL)
        except OSError:
            pass
        continue
    deadline = time.monotonic() + 3.0
    # What was killed may finish the system call that it is in, and make a file in a folder that is being removed.
    while os.path.lexists(name) and time.monotonic() < deadline:
        shutil.rmtree(name, ignore_errors=True)
"""

# A child tells the guard of its group before it becomes its program: a Ctrl-C that arrives in the parent between the
# fork and the next line would leave a process that nobody knows of. The guard's pipe is its standard input until then.
# The subshell takes the SIGPIPE if somebody has ended the guard.
_LAUNCHER = ["/bin/sh", "-c", '(echo "+1-group $$") >&0; exec "$@" </dev/null', "sh"]


class _Guard:
    """Kills the process groups, then removes the folders that it was told of, once the last holder of its pipe is gone.

    A forked child that lives on holds the pipe too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = 0

    def start(self) -> None:
        with self._lock:
            if self._process is not None and self._owner_pid == os.getpid():
                return
            # A session of its own: Ctrl-C in a terminal must not reach it, it has work to do then.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD_PROGRAM],
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
            self._owner_pid = os.getpid()

    @property
    def pipe(self) -> IO[bytes]:
        """Where lines for the guard go; it is started if it does not run."""
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        return self._process.stdin

    def forget_group(self, group: int) -> None:
        self._tell(f"-1-group {group}\n")

    def watch_folder(self, folder: Path) -> None:
        self.start()
        self._tell(f"+2-folder {folder}\n")

    def forget_folder(self, folder: Path) -> None:
        self._tell(f"-2-folder {folder}\n")

    def _tell(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None or self._owner_pid != os.getpid():
            return
        try:
            process.stdin.write(line.encode())
        except (OSError, ValueError):
            pass  # Somebody ended the guard, or the interpreter is exiting: the owners still clean up.

    def stop(self) -> None:
        process = self._process
        if process is None or self._owner_pid != os.getpid():
            return
        self._process = None
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


_guard = _Guard()
atexit.register(_guard.stop)


def start_guard() -> None:
    """Start the guard process now; otherwise the first :class:`OwnedProcess` does.

    For test suites that count descriptors: the guard costs one, for as long as this process lives.
    """
    _guard.start()


class OwnedProcess:
    """A child process in a session, so a process group, of its own.

    Args:
        command: the program and its arguments.
        log: the file that its output is appended to.
        env: the whole environment of the child; None means that of this process.
        cwd: the directory to run in.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_LAUNCHER, *command],
                stdin=_guard.pipe,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        self._owner_pid = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._process, self._owner_pid, grace=0.0)

    @property
    def pid(self) -> int:
        """The process, which is also the number of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As in :attr:`subprocess.Popen.returncode`."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal this process only; nothing happens if it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Wait until the process has ended.

        Args:
            timeout: seconds.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, grace: float) -> None:
        """End the process and everything in its group, and reap it. Idempotent; does nothing in a forked child.

        Args:
            grace: seconds between SIGTERM, which goes to this process, and SIGKILL, which goes to the group. 0 means
                SIGKILL at once.
        """
        if self._finalizer.detach() is not None:
            _end(self._process, self._owner_pid, grace=grace)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote."""
        try:
            text = self._log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class OwnedFolder:
    """A temporary folder that is removed with its owner, at the latest when the interpreter exits."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.gettempdir()) / f"{prefix}{uuid.uuid4().hex[:16]}"
        _guard.watch_folder(self.path)  # Before it exists: see _LAUNCHER.
        self.path.mkdir(mode=0o700)
        self._finalizer = weakref.finalize(self, _remove, self.path, os.getpid())

    def remove(self) -> None:
        """Remove the folder and what is in it. Idempotent."""
        self._finalizer()


def _remove(folder: Path, owner_pid: int) -> None:
    if os.getpid() == owner_pid:  # A forked child inherits the finalizer, but not the folder.
        shutil.rmtree(folder, ignore_errors=True)
        _guard.forget_folder(folder)


def _end(process: subprocess.Popen[bytes], owner_pid: int, *, grace: float) -> None:
    if os.getpid() != owner_pid:
        return  # A forked child inherits the finalizer, but not the process.
    group = process.pid
    try:
        if grace > 0 and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            # A process that was stopped with SIGSTOP takes no other signal until it continues.
            process.send_signal(signal.SIGCONT)
            process.wait(grace)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal_group(group, signal.SIGKILL)
        process.wait()
        _wait_for_group(group, 1.0)
        _guard.forget_group(group)


def _signal_group(group: int, number: int) -> bool:
    """Whether the group had a member."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # macOS says so of a group that has only zombies in it.
    return True


def _wait_for_group(group: int, timeout: float) -> None:
    """Until the members that are not our children are gone, or dead at least: when init reaps them is its affair."""
    deadline = time.monotonic() + timeout
    while _signal_group(group, 0) and not _all_are_dead(group) and time.monotonic() < deadline:
        time.sleep(0.005)


def _all_are_dead(group: int) -> bool:
    """Whether its members are zombies, as far as this system says so: in /proc, as Linux has it."""
    found = False
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # After the name of the program, which may be any text: the state, the parent, the group.
            state, _, of_group = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if of_group == str(group):
            if state not in "ZX":
                return False
            found = True
    return found
