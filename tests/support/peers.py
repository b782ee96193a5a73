""":class:`Peer`: the other end of a connection, which is no server, until it becomes one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Behaviour", "Peer", "afterwards", "dripping", "endless", "once"]

#: What it does with one connection, in a thread of its own; returns when it is done with it. May raise OSError.
Behaviour = Callable[[socket.socket], object]

_WAIT = 30


class Peer:
    """Accepts connections on a free port of the loopback interface. A context manager.

    Attributes:
        connections: how many there have been.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Peer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()
        for thread in self._threads:
            thread.join(_WAIT)

    def become(self, port: int) -> None:
        """From now on, be the server on this port: what is connected is cut, and new connections lead there."""
        self._behaviour = lambda connection: self._relay(connection, port)
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            _shut(sock)

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _adopt(self, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._sockets.append(sock)
        return sock

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, self._adopt(connection), self._behaviour)

    def _serve(self, connection: socket.socket, behaviour: Behaviour) -> None:
        with connection:
            try:
                behaviour(connection)
            except OSError:
                return

    def _relay(self, connection: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            self._adopt(server)
            self._start(_copy, server, connection)
            _copy(connection, server)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(target)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It is gone already.


def _listen(connection: socket.socket) -> None:
    """Until the other end hangs up."""
    while connection.recv(65536):
        pass


def once(data: bytes) -> Behaviour:
    """Says this, and then nothing more."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        _listen(connection)

    return behave


def endless(piece: bytes, start: bytes = b"") -> Behaviour:
    """Says this, and never stops saying the piece, as fast as anybody listens."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        pieces = piece * max(1, 65536 // len(piece))
        while True:
            connection.sendall(pieces)

    return behave


def dripping(piece: bytes, gap: float, start: bytes = b"") -> Behaviour:
    """Says this, and then the piece again and again, one byte in every so many seconds."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        pause = threading.Event()
        while True:
            for place in range(len(piece)):
                connection.sendall(piece[place : place + 1])
                pause.wait(gap)

    return behave


def afterwards(answer: Callable[[bytes], bytes], word: bytes, then: Behaviour) -> Behaviour:
    """Answers what it receives with ``answer(received)``, until the word is in it."""

    def behave(connection: socket.socket) -> None:
        while received := connection.recv(65536):
            if word in received:
                then(connection)
                return
            connection.sendall(answer(received))

    return behave
