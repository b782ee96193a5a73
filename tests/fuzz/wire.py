""":class:`ScriptedRedis`: as much of a Redis as a watcher needs, in a thread: fast, and it never refuses a value."""

from __future__ import annotations

import socket
import threading
from typing import Any

import hiredis

__all__ = ["ScriptedRedis"]

_WAIT = 30


class ScriptedRedis:
    """A context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._lock = threading.Condition()
        self._stored: dict[bytes, bytes] = {}
        self._channels: dict[bytes, socket.socket] = {}

    def __enter__(self) -> ScriptedRedis:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(_WAIT)

    def store(self, key: bytes, value: bytes) -> None:
        """Nobody hears of it."""
        with self._lock:
            self._stored[key] = value

    def publish(self, messages: list[tuple[bytes, bytes]]) -> None:
        """Tell the subscriber of each channel, all in one piece, once there is one for all of them."""
        with self._lock:
            if not self._lock.wait_for(lambda: all(channel in self._channels for channel, _ in messages), _WAIT):
                raise AssertionError("nobody subscribed")
            subscriber = self._channels[messages[0][0]]
        subscriber.sendall(b"".join(_array(b"message", channel, body) for channel, body in messages))

    def forget(self) -> None:
        """Everything that is stored."""
        with self._lock:
            self._stored.clear()

    def _start(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection:
            try:
                while received := connection.recv(65536):
                    reader.feed(received)
                    while (command := reader.gets()) is not False:
                        connection.sendall(self._answer(connection, *command))
            except OSError:
                return

    def _answer(self, connection: socket.socket, name: bytes, *arguments: bytes) -> bytes:
        with self._lock:
            if name == b"PING":
                subscribed = connection in self._channels.values()
                return _array(b"pong", b"") if subscribed else b"+PONG\r\n"
            if name == b"MGET":
                return _array(*(self._stored.get(key) for key in arguments))
            if name == b"SUBSCRIBE":
                self._channels.update(dict.fromkeys(arguments, connection))
                self._lock.notify_all()
            else:
                for channel in arguments:
                    self._channels.pop(channel, None)
        return b"".join(
            _array(name.lower(), channel)[:-1].replace(b"*2", b"*3", 1) + b"\n:1\r\n" for channel in arguments
        )


def _array(*items: bytes | None) -> bytes:
    found = [b"*%d\r\n" % len(items)]
    found += [b"$-1\r\n" if item is None else b"$%d\r\n%s\r\n" % (len(item), item) for item in items]
    return b"".join(found)
