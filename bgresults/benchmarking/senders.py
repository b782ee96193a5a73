"""The connection that the publisher's process sends through: to a Redis, or to a message broker."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Protocol

from kombu.connection import Connection

from bgresults.benchmarking.wire import ANSWER_SIZE, transaction
from bgresults.benchmarking.wire_amqp import reply

__all__ = ["AMQPAddress", "Address", "RedisAddress", "Sender", "ServerLost"]

# kombu has no types of its own.
_Connection: Any = Connection


class ServerLost(Exception):
    """The server hung up, or refused."""


class Sender(Protocol):
    """A connection, and how results look on it.

    Attributes:
        answered: whether a worker waits for the server's answer to each result.
    """

    answered: bool

    def encode(self, task_id: str, size: int, queue: str) -> bytes:
        """A result of ``size`` bytes, as a worker sends it."""
        ...

    def send(self, results: memoryview, count: int) -> None:
        """Send so many results. Blocks only as long as the server does not read."""

    def settle(self) -> None:
        """Return when the server has everything that was sent."""


class Address(Protocol):
    """Where to connect to; goes to another process."""

    def connect(self) -> Sender:
        """Connect."""
        ...


@dataclass(frozen=True)
class RedisAddress:
    """A Redis server."""

    host: str
    port: int

    def connect(self) -> Sender:
        """Connect."""
        return _RedisSender(socket.create_connection((self.host, self.port)))


@dataclass(frozen=True)
class AMQPAddress:
    """A message broker that speaks AMQP 0-9-1."""

    url: str

    def connect(self) -> Sender:
        """Connect, and log in."""
        return _AMQPSender(_Connection(self.url, heartbeat=0))


class _RedisSender:
    """Answers are read when there is time, so that the server never waits for us."""

    answered = True

    def __init__(self, server: socket.socket) -> None:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        self._missing = 0

    def encode(self, task_id: str, size: int, queue: str) -> bytes:
        """A transaction. Redis knows no reply queues."""
        return transaction(task_id, size)

    def send(self, results: memoryview, count: int) -> None:
        """Send, and leave the answers for later: 36 bytes for each result, which the server keeps."""
        self._missing += count * ANSWER_SIZE
        self._server.sendall(results)

    def settle(self) -> None:
        """Read the answers."""
        while self._missing > 0:
            received = self._server.recv(min(self._missing, 1 << 18))
            if not received:
                raise ServerLost("the server closed the connection")
            if b"-" in received:
                raise ServerLost(f"the server refused: {received[:200]!r}")
            self._missing -= len(received)


class _AMQPSender:
    """py-amqp logs in; after that, results go to its socket as they are."""

    answered = False

    def __init__(self, client: Any) -> None:
        self._client = client
        self._channel = client.channel()
        self._socket: socket.socket = client.connection.transport.sock

    def encode(self, task_id: str, size: int, queue: str) -> bytes:
        """The frames of a reply."""
        return reply(task_id, size, queue, channel=self._channel.channel_id)

    def send(self, results: memoryview, count: int) -> None:
        """Send. A broker that has too much does not read for a while."""
        self._socket.sendall(results)

    def settle(self) -> None:
        """Ask for something that is answered: a channel does one thing after the other."""
        try:
            self._channel.basic_qos(0, 0, False)
        except (self._client.connection_errors, self._client.channel_errors) as error:
            raise ServerLost(f"the broker refused: {error}") from error
