"""Many processes with a watcher each: forked children of a light parent.

Run as a program, ``python -m tests.soak.crowd URL``, it is that parent: it takes ``spawn PREFIX COUNT`` per line, and
its children print one JSON object per line. :class:`Crowd` is its owner.

A child watches ``PREFIX-NUMBER``, says so, says when it has the result, and closes its watcher at a SIGTERM.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgresults import ResultWatcher, WatcherClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NEVER", "Crowd"]

#: Ids of tasks that never end, which each child watches besides.
NEVER = 5
_PATIENCE = 120.0
_CLOSE_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parents[2]


class Crowd:
    """The owner of the light parent, and so of all its children; for one thread.

    Args:
        url: of the server that the watchers watch.
    """

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.crowd", url],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # One group, to be killed as one.
            start_new_session=True,
        )
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def spawn(self, prefix: str, count: int) -> dict[str, dict[str, Any]]:
        """Start so many more children; return what each said once it is connected, by task id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"spawn {prefix} {count}\n".encode())
        self._process.stdin.flush()
        return self.hear("watches", count)

    def hear(self, what: str, count: int, timeout: float = _PATIENCE) -> dict[str, dict[str, Any]]:
        """Return what so many children say next, by task id; each must say this.

        Raises:
            AssertionError: one said something else, or they did not say it in time.
        """
        heard: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + timeout
        while len(heard) < count:
            try:
                said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{count - len(heard)} of {count} children did not say {what!r}") from None
            assert said["what"] == what, said
            heard[said["id"]] = said
        return heard

    def close(self) -> None:
        """End all of them, politely those that listen. Idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(_CLOSE_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def exit_code(self) -> int | None:
        """0 if all children ended as they should."""
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))


def _say(**words: Any) -> None:
    """In one piece, whoever else says something."""
    os.write(1, json.dumps(words).encode() + b"\n")


def _live(watcher: ResultWatcher, task_id: str) -> None:
    """A child's life."""
    future = watcher.watch(task_id)
    never = watcher.watch_many(f"{task_id}-never-{number}" for number in range(NEVER))
    assert watcher.wait_ready(_PATIENCE), watcher
    _say(what="watches", id=task_id, pid=os.getpid(), reply_to=watcher.reply_to)
    value = future.result(_PATIENCE)
    now = time.monotonic()
    # What was stored comes a moment before everything is as it was.
    assert watcher.wait_ready(_PATIENCE), watcher
    _say(what="has", id=task_id, value=value, at=now, reconnects=watcher.stats().reconnects)
    signal.sigwait({signal.SIGTERM})
    watcher.close()
    assert [type(future.exception(0)) for future in never] == [WatcherClosedError] * NEVER


def _main(url: str) -> int:
    """Fork children until standard input ends; then end them, and return whether all ended as they should."""
    # Inert, and made once: a child has its own session of it.
    watcher = ResultWatcher(url)
    pids = []
    for line in sys.stdin:
        _, prefix, count = line.split()
        for number in range(int(count)):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    # For the drain thread as well, which is started from here: it comes to whoever waits for it.
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                    _live(watcher, f"{prefix}-{number}")
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    # Some are killed on purpose.
    return 0 if set(codes) <= {0, -signal.SIGKILL} else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
