"""Another client of a Redis: how long it waits for an answer, meanwhile. In a process of its own.

It shares the server with the contender, and nothing else: no interpreter lock, no garbage collector.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Pinger"]

# Seconds between an answer and the next question.
_PAUSE = 0.0005
_PATIENCE = 30.0
_PING, _PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


class Pinger:
    """Sends PING again and again, from ``with`` to its end.

    Args:
        host, port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_ping, args=(theirs, host, port), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_PATIENCE):
            self.close()
            raise RuntimeError("the process that sends PING did not start")
        self._pipe.recv()

    def between(self, start: float, end: float) -> list[float]:
        """The seconds that each answer took that was waited for between two moments of ``time.monotonic()``.

        Ends the pinging; to be called once.
        """
        self._pipe.send("enough")
        if not self._pipe.poll(_PATIENCE):
            raise RuntimeError("the process that sends PING has no answer")
        asked: list[tuple[float, float]] = self._pipe.recv()
        return [taken for at, taken in asked if at < end and at + taken > start]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ping(pipe: Connection, host: str, port: int) -> None:
    asked: list[tuple[float, float]] = []
    with socket.create_connection((host, port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pipe.send("ready")
        while not pipe.poll():
            started = time.monotonic()
            server.sendall(_PING)
            answer = server.recv(len(_PONG))
            while len(answer) < len(_PONG):
                answer += server.recv(len(_PONG) - len(answer))
            asked.append((started, time.monotonic() - started))
            time.sleep(_PAUSE)
    pipe.send(asked)
