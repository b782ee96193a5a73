""":class:`Latch`: what threads wait for that want to know how a connection attempt ended."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["Latch"]


class Latch:
    """A ``threading.Event`` that no thread can leave locked.

    An event has a lock. An exception out of a signal handler, between the taking of that lock and the block that it is
    taken for, leaves it locked for ever, and so does a fork, in the child. Here each waiter brings a lock of its own.
    """

    def __init__(self) -> None:
        self._open = False
        self._waiters: deque[threading.Lock] = deque()

    def set(self) -> None:
        """Let everybody through, from now on."""
        self._open = True
        while self._waiters:
            try:
                self._waiters.popleft().release()
            except IndexError:
                # Another thread is at it too, or the last one has just given up.
                return

    def clear(self) -> None:
        """Let nobody through, from now on."""
        self._open = False

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is open, at most ``timeout`` seconds."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        try:
            # Appended first, asked second: whoever opens it finds this waiter, or is found out here.
            if not self._open:
                waiter.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
        finally:
            try:
                self._waiters.remove(waiter)
            except ValueError:
                pass
