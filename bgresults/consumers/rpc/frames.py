"""Reading everything that has arrived, and no more: neither a spin in the middle of a frame, nor a frame out of sight.

py-amqp's own ``drain_events()`` asks the socket three times for each frame, and a message is three frames. With a time
limit of 0 it spins in the middle of one; with a longer one it sleeps behind a lone heartbeat. Here the socket is read
in large pieces without ever blocking, what is complete is handed to py-amqp frame by frame, and the rest waits where
py-amqp itself would look for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from struct import unpack_from
from typing import Any, Final

from amqp import spec
from amqp.exceptions import UnexpectedFrame

from bgresults.consumers.rpc.messages import Frame
from bgresults.consumers.rpc.transport import LARGEST_FRAME, DeadlineTransport

__all__ = ["FrameReader"]

_PIECE: Final = 65536
# One turn takes a megabyte at most: commands, deadlines and acknowledgements are waiting too.
_PIECES: Final = 16
_METHOD: Final = 1
_KINDS: Final = (_METHOD, 2, 3, 8)
_HEADER_SIZE: Final = 7
_FRAME_END: Final = 0xCE
_DELIVER: Final = spec.Basic.Deliver


class FrameReader:
    """Feeds one connection of py-amqp."""

    def __init__(self, connection: Any) -> None:
        self._transport: DeadlineTransport = connection.transport
        self._on_frame: Callable[[Frame], object] = connection.on_inbound_frame

    def read(self) -> bool:
        """Handle what is there; True if there may be more.

        Raises:
            OSError, amqp.AMQPError: the connection is broken, or the broker ended it, a channel or a consumer. What
                came after that is not lost.
        """
        transport = self._transport
        sock = transport.sock
        # Left by a raise in the middle, or by py-amqp when it waited for an answer.
        self._handle_complete()
        for _ in range(_PIECES):
            try:
                piece = sock.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            if not piece:
                raise ConnectionResetError("the broker closed the connection")
            transport._read_buffer += piece
            self._handle_complete()
            if len(piece) < _PIECE and not isinstance(sock, ssl.SSLSocket):
                # That was all: one system call less, most of the time. Of TLS a piece is one record.
                return False
        return True

    def _handle_complete(self) -> None:
        transport, on_frame = self._transport, self._on_frame
        data = transport._read_buffer
        start, available = 0, len(data)
        while available - start > _HEADER_SIZE:
            kind, channel, size = unpack_from(">BHI", data, start)
            if kind not in _KINDS:
                # Now: the size is nonsense as well, and so many bytes may never come.
                raise UnexpectedFrame(f"a frame of kind {kind:#04x}, which is none")
            if size > LARGEST_FRAME:
                raise UnexpectedFrame(f"a frame of {size} bytes is announced, more than was agreed upon")
            end = start + _HEADER_SIZE + size
            if end >= available:
                break
            if data[end] != _FRAME_END:
                raise UnexpectedFrame(f"a frame ends with {data[end]:#04x} and not with {_FRAME_END:#04x}")
            payload = data[start + _HEADER_SIZE : end]
            start = end + 1
            if kind != _METHOD or unpack_from(">HH", payload) == _DELIVER:
                on_frame((kind, channel, payload))
                continue
            # Whatever else the broker says may make py-amqp answer, and wait for what comes next, or raise.
            transport._read_buffer = data[start:]
            on_frame((kind, channel, payload))
            data = transport._read_buffer
            start, available = 0, len(data)
        transport._read_buffer = data[start:]
