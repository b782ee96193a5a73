"""What keeps an answer from going on for ever, or for more than there is memory for.

Whoever sends a byte now and then is alive, which is right for a slow line, and not enough for an answer without an end.
redis-py, besides, waits for the rest of an answer in reads that each have a time limit of their own.
"""

from __future__ import annotations

import socket
import time
from typing import Any

__all__ = ["LARGEST_ANSWER", "PATIENCE", "DeadlineSocket", "UnfinishedAnswer"]

#: Bytes of one answer: of eight values, which is how many are asked for until their size is known, of the 512 MiB that
#: Redis takes at most; and something around them.
LARGEST_ANSWER = (8 * 512 + 1) * 1024 * 1024
#: Seconds in which an answer that has begun must be complete, and bytes per second that give it more of them.
PATIENCE = 60.0
SLOWEST = 100_000


class UnfinishedAnswer:
    """How much there is of an answer that has begun, and since when. Bounded: it cannot begin for ever."""

    def __init__(self) -> None:
        self._received = 0
        self._began = 0.0

    def complete(self) -> None:
        """The next one has not begun."""
        self._received = 0

    def received(self, count: int) -> None:
        """So many bytes more. Raises ConnectionAbortedError, if that is too much or took too long."""
        now = time.monotonic()
        if not self._received:
            self._began = now
        self._received += count
        if self._received > LARGEST_ANSWER:
            raise ConnectionAbortedError("an answer without an end")
        if now - self._began > PATIENCE + self._received / SLOWEST:
            raise ConnectionAbortedError(f"an answer that has not been complete for {now - self._began:.0f} s")


class DeadlineSocket:
    """Everything but receiving is the socket's own.

    Args:
        sock: of which redis-py sets the time limits.
        deadline: by when everything that is read now must be there, on the clock of ``time.monotonic``; see
            :meth:`begin`.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._deadline: float | None = deadline
        self._answer = UnfinishedAnswer()

    def begin(self) -> None:
        """From now on there is no deadline but that of the one answer that begins."""
        self._deadline = None
        self._answer.complete()

    def recv(self, *arguments: Any) -> bytes:
        self._hurry()
        received = self._socket.recv(*arguments)
        self._answer.received(len(received))
        return received

    def recv_into(self, *arguments: Any) -> int:
        self._hurry()
        received = self._socket.recv_into(*arguments)
        self._answer.received(received)
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def _hurry(self) -> None:
        limit = self._socket.gettimeout()
        if self._deadline is None or limit == 0:
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        if limit is None or limit > left:
            self._socket.settimeout(left)
