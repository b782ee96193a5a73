"""The two processes that the driver starts, and how it speaks with them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

__all__ = ["PublisherProcess", "SubjectProcess", "SubjectStuck"]

_ROOT = Path(__file__).resolve().parents[2]
_STACKS_SECONDS = 20.0


class SubjectStuck(Exception):
    """It did not answer in time, or is gone; its stacks are on stderr."""


def _start(module: str, settings: dict[str, Any], *, stdin: int, inherited: tuple[int, ...] = ()) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.soak.{module}", json.dumps(settings)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        pass_fds=inherited,
    )


class PublisherProcess:
    """Plays the workers.

    Args:
        settings: as in :mod:`tests.soak.publisher`.

    Attributes:
        orders: the descriptor that orders are written to.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        reading, self.orders = os.pipe()
        self._process = _start("publisher", settings, stdin=reading)
        os.close(reading)

    def close_orders(self) -> None:
        """From now on only those who inherited the descriptor may write orders. Idempotent."""
        orders, self.orders = self.orders, -1
        if orders >= 0:
            os.close(orders)

    def finish(self, timeout: float) -> dict[str, int]:
        """Return what it has written, once it has written everything."""
        self.close_orders()
        said, _ = self._process.communicate(timeout=timeout)
        counts: dict[str, int] = json.loads(said)
        return counts

    def kill(self) -> None:
        """End it. Idempotent."""
        self.close_orders()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class SubjectProcess:
    """The process under test; see :mod:`tests.soak.subject`.

    Attributes:
        samples: what it has said of its size and speed so far.
        noisy: set when it need not be left alone any more, since the fork that it was told to make is made.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.samples: list[dict[str, Any]] = []
        self.noisy = threading.Event()
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._speaking = threading.Lock()
        self._process = _start("subject", settings, stdin=subprocess.PIPE, inherited=(settings["orders"],))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, what: str, **details: Any) -> None:
        """Say something that is not answered. Any thread."""
        with self._speaking, contextlib.suppress(BrokenPipeError):
            # Whoever waits for an answer will learn that it is gone.
            self._process.stdin.write(json.dumps({"do": what, **details}).encode() + b"\n")
            self._process.stdin.flush()

    def ask(self, what: str, timeout: float, **details: Any) -> dict[str, Any]:
        """Have something done; return the answer. One thread.

        Raises:
            SubjectStuck: there was none.
        """
        self.tell(what, **details)
        return self.hear(what, timeout)

    def hear(self, what: str, timeout: float) -> dict[str, Any]:
        """The answer to what it was told to do."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            answer = None
        if answer is None:
            self.dump_stacks()
            raise SubjectStuck(f"no answer to {what!r} within {timeout:g} s, or its process is gone")
        if "failed" in answer:
            raise SubjectStuck(f"{what!r} failed:\n{answer['failed']}")
        return answer

    def dump_stacks(self) -> None:
        """Have the stacks of all its threads on stderr; it ends with that."""
        self._process.send_signal(signal.SIGABRT)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(_STACKS_SECONDS)
        except subprocess.TimeoutExpired:
            pass

    def finish(self) -> None:
        """Let it end. Idempotent."""
        self._process.stdin.close()
        try:
            self._process.wait(_STACKS_SECONDS)
        except subprocess.TimeoutExpired:
            self.dump_stacks()
        self.kill()

    def kill(self) -> None:
        """End it. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._reader.join(_STACKS_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            said = json.loads(line)
            if "sample" in said:
                self.samples.append(said["sample"])
            elif "noisy" in said:
                self.noisy.set()
            else:
                self._answers.put(said["answer"])
        self._answers.put(None)
        self.noisy.set()
