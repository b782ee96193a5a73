"""Connections that do nothing, as those of web processes without a request: any number of them, in one process.

A watcher leaves two, one that subscribes and one that reads; these look the same to the server, and cost no thread.
"""

from __future__ import annotations

import multiprocessing
import socket
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Bystanders"]

_PATIENCE = 120.0
_BATCH = 500


class Bystanders:
    """There from ``with`` to its end.

    Args:
        port: of the Redis server, on the loopback interface.
        processes: web processes to stand for: two connections each.
        channels: of each subscriber.
        patterns: of the first one, besides.
    """

    def __init__(self, port: int, processes: int, *, channels: int = 1, patterns: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        details = (theirs, port, processes, channels, patterns)
        self._process = context.Process(target=_stand_by, args=details, daemon=True)
        self._process.start()
        theirs.close()
        try:
            if not self._pipe.poll(_PATIENCE):
                raise RuntimeError("the bystanders did not come in time")
            self._pipe.recv()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, and with it the connections."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stand_by(pipe: Connection, port: int, processes: int, channels: int, patterns: int) -> None:
    """The process."""
    kept = []
    for number in range(processes):
        subscriber = socket.create_connection(("127.0.0.1", port))
        reader = socket.create_connection(("127.0.0.1", port))
        kept += [subscriber, reader]
        _send(reader, ["PING"], b"+PONG\r\n", 1)
        names = [f"celery-task-meta-bystander-{number}-{channel:019}" for channel in range(channels)]
        for start in range(0, channels, _BATCH):
            batch = names[start : start + _BATCH]
            _send(subscriber, ["SUBSCRIBE", *batch], b"subscribe\r\n", len(batch))
        if number == 0 and patterns:
            # As those of Celery's events: they share no more with a result's channel than their first letters.
            wishes = [f"/{number}.celeryev/worker.{number}.*" for number in range(patterns)]
            _send(subscriber, ["PSUBSCRIBE", *wishes], b"subscribe\r\n", len(wishes))
    pipe.send("here")
    try:
        pipe.recv()
    except EOFError:
        pass  # The benchmark has ended.


def _send(server: socket.socket, words: list[str], sign: bytes, count: int) -> None:
    """Send a command, and read until ``sign`` has come so often."""
    encoded = [word.encode() for word in words]
    server.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    answer = b""
    while answer.count(sign) < count:
        received = server.recv(1 << 18)
        if not received:
            raise ConnectionError(f"the server hung up on a bystander: {answer[-200:]!r}")
        answer += received
