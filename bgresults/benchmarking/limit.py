"""What waiting for many results comes to without a library: sockets, hiredis and json.

The same commands in the same order as ours, and so the same promise: subscribe, wait for the confirmation, then read
what is stored; what comes either way is decoded, matched with its id and kept. But in one thread, for one batch, with
two connections that nobody else uses: nobody can wait for something else meanwhile, nothing has a timeout, and no end
but the good one is thought of.
"""

from __future__ import annotations

import importlib.util
import json
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bgresults.benchmarking.contenders import PATIENCE
from bgresults.benchmarking.question import Question

__all__ = ["LIMIT", "HiredisQuestion", "Limit"]

LIMIT = "limit"

_PREFIX = b"celery-task-meta-"
# Ids of one command: ours asks for as many, so that the server's other clients are not held up.
_PIECE = 500
_RECEIVE = 1 << 18


class Limit:
    """A contender that only has :meth:`wait_all`.

    Args:
        host, port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self.name = LIMIT
        self.missed = 0
        self.queues: Sequence[str] = ()
        self._address = (host, port)

    def wait_one(self, task_id: str) -> Any:
        """A batch of one."""
        return self.wait_all([task_id])[0]

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """Connect, and wait for all of them."""
        with socket.create_connection(self._address) as subscriber, socket.create_connection(self._address) as reader:
            for each in (subscriber, reader):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Wait(subscriber, reader, [_PREFIX + task_id.encode() for task_id in task_ids]).values()

    def close(self) -> None:
        """Nothing stays open."""


class _Wait:
    """One batch.

    Args:
        subscriber, reader: connections.
        keys: of the results, which are the names of their channels as well.
    """

    def __init__(self, subscriber: socket.socket, reader: socket.socket, keys: Sequence[bytes]) -> None:
        import hiredis

        self._pack: Callable[..., bytes] = hiredis.pack_command
        self._messages, self._answers = hiredis.Reader(), hiredis.Reader()
        self._subscriber, self._reader = subscriber, reader
        self._keys = keys
        self._pieces = [keys[start : start + _PIECE] for start in range(0, len(keys), _PIECE)]
        self._values: dict[bytes, Any] = {}
        # Ids whose subscription is confirmed, pieces that were asked for, and those that were answered.
        self._confirmed = self._asked = self._answered = 0

    def values(self) -> list[Any]:
        """Wait for all of them."""
        for piece in self._pieces:
            self._subscriber.sendall(self._pack((b"SUBSCRIBE", *piece)))
        poller = select.poll()
        poller.register(self._subscriber, select.POLLIN)
        poller.register(self._reader, select.POLLIN)
        while len(self._values) < len(self._keys):
            ready = poller.poll(PATIENCE * 1000)
            if not ready:
                raise TimeoutError(f"{len(self._keys) - len(self._values)} results did not come")
            for descriptor, _ in ready:
                if descriptor == self._subscriber.fileno():
                    self._listen()
                else:
                    self._read()
            self._ask()
        return [self._values[key] for key in self._keys]

    def _listen(self) -> None:
        self._messages.feed(self._subscriber.recv(_RECEIVE))
        while message := self._messages.gets():
            if message[0] == b"message":
                self._values[message[1]] = json.loads(message[2])["result"]
            else:
                self._confirmed += 1

    def _read(self) -> None:
        self._answers.feed(self._reader.recv(_RECEIVE))
        while answer := self._answers.gets():
            for key, body in zip(self._pieces[self._answered], answer, strict=True):
                if body is not None and key not in self._values:
                    self._values[key] = json.loads(body)["result"]
            self._answered += 1

    def _ask(self) -> None:
        """For the stored values of each piece whose last subscription is confirmed."""
        while self._asked < len(self._pieces) and self._confirmed >= min((self._asked + 1) * _PIECE, len(self._keys)):
            self._reader.sendall(self._pack((b"MGET", *self._pieces[self._asked])))
            self._asked += 1


@dataclass(frozen=True, kw_only=True)
class HiredisQuestion(Question):
    """One that compares with the limit."""

    def lacking(self) -> str | None:
        """hiredis, or a redis-server."""
        if importlib.util.find_spec("hiredis") is None:
            return "no hiredis: pip install hiredis"
        return super().lacking()
