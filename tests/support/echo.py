"""A server that says what it hears, and how to talk to it through a proxy."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator

from bgresults.testing import FaultProxy

__all__ = ["PATIENCE", "EchoServer", "connected", "is_silent", "receive", "running_echo", "say_all", "talk"]

PATIENCE = 10


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.server.heard += data  # type: ignore[attr-defined]
                self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.heard = bytearray()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextlib.contextmanager
def running_echo() -> Iterator[EchoServer]:
    """A server in a thread of its own."""
    server = EchoServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def connected(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly so many bytes, or as many as there are before the end."""
    received = b""
    while len(received) < count and (data := sock.recv(count - len(received))):
        received += data
    return received


def talk(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    return receive(sock, len(data))


def is_silent(sock: socket.socket, seconds: float = 0.1) -> bool:
    return not select.select([sock], [], [], seconds)[0]


def say_all(sock: socket.socket, data: bytes) -> None:
    """Say ``data``, and that this was all."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
