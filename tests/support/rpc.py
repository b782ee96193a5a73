"""What the contract tests need of the rpc consumer and of a broker."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from kombu.connection import Connection

from bgresults import AMQPOptions
from bgresults.consumers import BaseResultConsumer
from bgresults.consumers.rpc import ResultConsumer
from bgresults.testing import FaultProxy
from tests.support.broker import ReplyWriter
from tests.support.consumers import Recorder
from tests.support.sockets import copies
from tests.support.waiting import wait_until

__all__ = [
    "QUEUE_ARGUMENTS",
    "Holder",
    "RpcBench",
    "cut_connections",
    "leave_ghosts",
    "port_of",
    "proxy_to",
    "through",
    "through_port",
]

# kombu has no types of its own.
_Connection: Any = Connection

#: What the library's own queues have when nobody says otherwise.
QUEUE_ARGUMENTS = {"x-expires": 600_000}


class Holder:
    """Somebody else, who consumes a queue and lets nobody else do so."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._connection = _Connection(url, connect_timeout=10)
        self._channel = self._connection.channel()
        self._channel.basic_consume(queue, exclusive=True, callback=lambda _message: None)

    def let_go(self) -> None:
        """Idempotent."""
        self._connection.release()

    def delete(self) -> None:
        """Let go, and delete the queue."""
        self.let_go()
        writer = ReplyWriter(self._url)
        writer.delete(self._queue)
        writer.close()


def port_of(url: str) -> int:
    """The port of a broker's URL."""
    return urlsplit(url).port or 5672


def proxy_to(url: str) -> FaultProxy:
    """A proxy in front of a broker, not started."""
    return FaultProxy(port_of(url), host=urlsplit(url).hostname or "127.0.0.1")


def through(proxy: FaultProxy, url: str) -> str:
    """The URL of the broker behind the proxy, with the same credentials and virtual host."""
    return through_port(proxy.port, url)


def through_port(port: int, url: str) -> str:
    """The URL of the broker, as if it were at this port of this machine."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}"))


def _local_ports(port: int) -> set[int]:
    """Our ends of this process's connections to a broker."""
    sockets = copies(port)
    try:
        return {sock.getsockname()[1] for sock in sockets}
    finally:
        for sock in sockets:
            sock.close()


def cut_connections(port: int, *, but: set[int] = frozenset()) -> int:  # type: ignore[assignment]
    """Cut this process's connections to a broker, as the network does: no word to either side. Returns how many.

    Args:
        port: of the broker.
        but: the local ports of those that stay.
    """
    cut = 0
    for sock in copies(port):
        with sock:
            if sock.getsockname()[1] in but:
                continue
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                # The broker was faster: it has reset a connection that was cut before it had said a word.
                if error.errno != errno.ENOTCONN:
                    raise
            else:
                cut += 1
    return cut


def leave_ghosts(port: int) -> list[socket.socket]:
    """Have this process's ends believe that the broker is gone, while the broker goes on as if nothing was the matter.

    The connections live on, for the broker, until the sockets that are returned are closed.
    """
    ghosts = copies(port)
    for sock in ghosts:
        # Of the two directions the one that the other side is not told of.
        sock.shutdown(socket.SHUT_RD)
    return ghosts


class RpcBench:
    """:class:`~tests.support.consumers.ConsumerBench` for RabbitMQ. Ids are queue names with ``binding="task"``.

    Args:
        url: of the broker.
        binding: as in ``AMQPOptions``.
        options: further ones.
    """

    def __init__(self, url: str, binding: Literal["process", "task"], **options: Any) -> None:
        self.url = url
        self.port = port_of(url)
        self.binding = binding
        self._options = AMQPOptions(binding=binding, **options)
        before = _local_ports(self.port)
        self.writer = ReplyWriter(url)
        self._own_ports = _local_ports(self.port) - before
        self._others = before
        self._consumers: list[BaseResultConsumer] = []
        self._ids: set[str] = set()

    def consumer(
        self, recorder: Recorder, make: Callable[..., BaseResultConsumer] = ResultConsumer, **settings: Any
    ) -> BaseResultConsumer:
        callbacks = {"on_state": recorder.on_state, "on_error": recorder.on_error}
        made = make(self.url, **{"options": self._options, **callbacks, **settings})
        self._consumers.append(made)
        return made

    def queue_for(self, task_id: str) -> str:
        """The queue that replies of a task go to. As for whoever sends a task, it is there before the reply is."""
        if self.binding == "task":
            self._ids.add(task_id)
            if not self.writer.exists(task_id):
                self.writer.make(task_id, arguments=QUEUE_ARGUMENTS)
            return task_id
        consumer = self._consumers[-1]
        if consumer.reply_to is None:
            consumer.start(None)
        assert consumer.reply_to is not None
        return consumer.reply_to

    def send(self, task_id: str, result: Any = None, status: str = "SUCCESS", **fields: Any) -> object:
        self.writer.write(self.queue_for(task_id), task_id, result, status, **fields)
        return None

    def send_garbage(self, task_id: str) -> object:
        self.writer.write_raw(self.queue_for(task_id), b"\xff{", correlation_id=task_id)
        return None

    def asked_for(self) -> set[str]:
        consumed = {task_id for consumer in self._consumers for task_id in consumer.consumed_ids()}
        if self.binding == "process":
            # One queue for all: the broker does not know whom it sends what.
            return consumed
        self._ids |= consumed
        return {task_id for task_id in self._ids if self.writer.consumers(task_id)}

    def cut(self, consumer: BaseResultConsumer) -> None:
        assert cut_connections(self.port, but=self._own_ports | self._others)
        # Until the broker has noticed, it sends replies where nobody is, and with no_ack these are gone.
        queues = consumer.consumed_ids() if self.binding == "task" else [consumer.reply_to]
        wait_until(lambda: not any(self.writer.consumers(queue) for queue in queues), "the broker to notice")

    def connections(self) -> int:
        return len(_local_ports(self.port) - self._own_ports - self._others)

    def close(self) -> None:
        for made in self._consumers:
            self._ids.update(made.consumed_ids())
            made.stop()
        if self.binding == "task":
            self.writer.delete(*self._ids)
        self.writer.close()
