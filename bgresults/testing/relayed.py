"""What a :class:`~bgresults.testing.relay.Relay` is made of: a port, and the connections that came in through it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct

from bgresults.testing.pipes import Direction, Pace, Pipe

__all__ = ["Connection", "Port"]

_LOOPBACK = "127.0.0.1"
_READS_AT_THE_END = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Port:
    """A free port of the loopback interface that can be closed and opened again without losing it to somebody else."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.socket = self._bound(0)
        self.number: int = self.socket.getsockname()[1]
        #: Whether connections are accepted.
        self.open = False
        self.listen()

    def listen(self) -> None:
        """Accept connections (again)."""
        if not self.open:
            self.socket.listen(256)
            self._selector.register(self.socket, selectors.EVENT_READ)
            self.open = True

    def refuse(self) -> None:
        """Refuse connections: a bound socket that does not listen keeps the port."""
        if self.open:
            self._selector.unregister(self.socket)
            with contextlib.suppress(OSError):
                # A child that is just being forked holds it too.
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
            self.socket = self._bound(self.number)
            self.open = False

    @staticmethod
    def _bound(number: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((_LOOPBACK, number))
        sock.setblocking(False)
        return sock


class Connection:
    """A client's connection and, unless it goes nowhere, the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket | None, paces: dict[Direction, Pace]) -> None:
        self.client = client
        self.server = server
        self.pipes: dict[Direction, Pipe] = {
            "to_client": Pipe(server, client, paces["to_client"]),
            "to_server": Pipe(client, server, paces["to_server"]),
        }
        self.recorded: dict[Direction, bytearray] = {"to_client": bytearray(), "to_server": bytearray()}
        #: The last bytes that the client said, for a word that arrives in two parts.
        self.tail = b""

    @property
    def client_is_there(self) -> bool:
        """Whether the client has not closed yet."""
        return not self.pipes["to_server"].ended

    @property
    def sockets(self) -> list[socket.socket]:
        """Both, or the client's alone."""
        return [self.client] if self.server is None else [self.client, self.server]

    def close(self, *, reset: bool = False) -> None:
        """With a FIN to both sides, or with an RST."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                else:
                    # Before the close: it works although others hold the descriptor too.
                    sock.shutdown(socket.SHUT_RDWR)
                    # A close with bytes unread would be an RST.
                    for _ in range(_READS_AT_THE_END):
                        if not sock.recv(65536):
                            break
            sock.close()
