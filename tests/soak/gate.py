"""Where threads stop on demand, between one thing and the next."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """For a known number of threads.

    Args:
        threads: how many pass through it again and again.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._changed = threading.Condition()
        self._open = True
        self._standing = 0

    def pass_through(self) -> None:
        """Wait while it is closed."""
        if self._open:
            return
        with self._changed:
            self._standing += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open)
            self._standing -= 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self, timeout: float) -> Iterator[bool]:
        """All threads stand here meanwhile; False if that did not come about within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        self._open = False
        try:
            with self._changed:
                all_here = self._changed.wait_for(
                    lambda: self._standing == self._threads, max(0.0, deadline - time.monotonic())
                )
            yield all_here
        finally:
            with self._changed:
                self._open = True
                self._changed.notify_all()
                # Or the next closing would count those that have not woken yet.
                self._changed.wait_for(lambda: self._standing == 0, timeout)
