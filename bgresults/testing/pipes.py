"""One direction of one connection through a :class:`~bgresults.testing.faults.FaultProxy`.

Nothing here waits: a pipe takes what its source has, keeps it as long as its :class:`Pace` says, and gives its sink as
much as that takes.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from dataclasses import dataclass
from typing import Literal

__all__ = ["DIRECTIONS", "Direction", "Pace", "Pipe"]

#: Seen from the proxy.
Direction = Literal["to_client", "to_server"]
DIRECTIONS: tuple[Direction, ...] = ("to_client", "to_server")

_READ = 65536
#: Bytes that a pipe keeps before it stops reading: then the sender feels it, as it would on a slow network.
_FULL = 1 << 20


@dataclass(frozen=True)
class Pace:
    """How bytes go in one direction.

    Attributes:
        delay: seconds between arriving and leaving.
        piece: bytes that leave at most at a time; None means all of them.
        gap: seconds between two pieces.
        swallow: whether they never leave.
    """

    delay: float = 0.0
    piece: int | None = None
    gap: float = 0.0
    swallow: bool = False

    def __str__(self) -> str:
        if self.swallow:
            return "black hole"
        if self.piece is not None:
            return f"trickle {self.piece} bytes per {self.gap:g} s"
        return f"delay {self.delay:g} s" if self.delay else "pass"


class Pipe:
    """Carries bytes from one socket to another. Both are non-blocking; closing them is their owner's affair.

    Args:
        source: None is a source that never says anything.
        sink: None swallows everything.
        pace: how the bytes go.
    """

    def __init__(self, source: socket.socket | None, sink: socket.socket | None, pace: Pace) -> None:
        self.source = source
        self.sink = sink
        self.pace = pace
        #: Once bytes were lost there is no way back: the rest of the stream would make no sense.
        self.swallows = pace.swallow or sink is None
        #: Nothing leaves while this is set.
        self.held = False
        #: The source has said its last word.
        self.ended = source is None
        #: The sink has been told so.
        self.finished = source is None or sink is None
        #: The sink takes nothing at the moment.
        self.blocked = False
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._kept = 0
        self._next_piece = 0.0

    @property
    def wants_to_read(self) -> bool:
        """Whether the source should be listened to."""
        return not self.ended and self._kept < _FULL

    def read(self) -> bytes | None:
        """What the source has now: None if nothing, ``b""`` at its end.

        Raises:
            OSError: the source was reset.
        """
        assert self.source is not None
        try:
            data = self.source.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return None
        self.ended = not data
        return data

    def put(self, data: bytes, now: float) -> None:
        """Keep ``data`` until it may leave."""
        if data and not self.swallows:
            self._chunks.append((now, data))
            self._kept += len(data)

    def inject(self, data: bytes) -> None:
        """Let ``data`` leave before anything that is kept."""
        if data and not self.swallows and not self.finished:
            self._chunks.appendleft((-math.inf, data))
            self._kept += len(data)

    def set_pace(self, pace: Pace) -> None:
        """From now on; swallowing is for good."""
        self.pace = pace
        self._next_piece = 0.0
        if pace.swallow:
            self.swallows = True
            self._chunks.clear()
            self._kept = 0

    def due(self) -> float | None:
        """When something may leave; None if nothing will before something else happens."""
        if not self._chunks or self.held or self.blocked:
            return None
        leaves = self._chunks[0][0] + self.pace.delay
        return leaves if self.pace.piece is None else max(leaves, self._next_piece)

    def send(self, now: float, limit: int | None) -> int:
        """Give the sink one chunk of what may leave, at most ``limit`` bytes; return how many bytes it took.

        Raises:
            OSError: the sink is gone.
        """
        due = self.due()
        if due is None or due > now or self.sink is None:
            return 0
        arrived, data = self._chunks.popleft()
        sizes = [size for size in (len(data), self.pace.piece, limit) if size is not None]
        try:
            sent = self.sink.send(data[: min(sizes)])
        except (BlockingIOError, InterruptedError):
            self.blocked = True
            sent = 0
        if sent < len(data):
            self._chunks.appendleft((arrived, data[sent:]))
        if sent:
            self._kept -= sent
            self._next_piece = now + self.pace.gap
        return sent

    def pass_the_end_on(self) -> None:
        """Tell the sink that the source has ended, once everything else has left."""
        if self.ended and not self.finished and not self._chunks and not self.swallows and not self.blocked:
            self.finished = True
            assert self.sink is not None
            self.sink.shutdown(socket.SHUT_WR)
