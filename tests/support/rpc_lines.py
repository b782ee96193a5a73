"""A watcher of replies whose line to the broker can be broken, plain or over TLS."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bgresults import AMQPOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy, RabbitMQServer, ThrowAwayCA, find_rabbitmq
from tests.support.broker import ReplyWriter
from tests.support.results import new_id
from tests.support.waiting import wait_until

__all__ = [
    "HEARTBEAT",
    "NOTICED",
    "QUICK",
    "RECOVERED",
    "WAIT",
    "Line",
    "line_to",
    "own_node",
    "shared_node",
    "shared_node_ca",
]

#: Seconds after which something that should happen will not.
WAIT = 30
#: Seconds; the shortest there is.
HEARTBEAT = 1
#: Attempts to connect follow each other at once.
QUICK = RetryPolicy(initial=0.01, maximum=0.05)
# Seconds that are no part of any bound, but of a machine that has other things to do.
_ROOM = 6.0
_CONNECT_TIMEOUT = 1.5
#: Seconds after which a dead link has been found out: two heartbeats that did not come, and the look at the clock.
NOTICED = 3 * HEARTBEAT + _ROOM
#: Seconds after which a line that works again is used: an attempt that is under way, the back-off, and the next one.
RECOVERED = 2 * _CONNECT_TIMEOUT + QUICK.maximum + _ROOM


def own_node(**settings: Any) -> RabbitMQServer:
    """A node of RabbitMQ that the caller starts and closes; skips the test where there is none to be had."""
    if find_rabbitmq() is None:
        reason = "no rabbitmq-server: apt-get install rabbitmq-server"
        if os.environ.get("BGRESULTS_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{reason} (BGRESULTS_REQUIRE_SERVERS=1)", pytrace=False)
        pytest.skip(reason)
    return RabbitMQServer(**settings)


@functools.cache
def _shared_ca() -> ThrowAwayCA | None:
    return ThrowAwayCA() if ThrowAwayCA.available() else None


@functools.cache
def _shared_node() -> RabbitMQServer:
    ca = _shared_ca()
    return own_node(tls=None if ca is None else ca.server("localhost"))


def shared_node() -> RabbitMQServer:
    """A node that all tests of this process share, since it takes some seconds to start. It ends with the process.

    Tests may do to it what they like, as long as they leave it as it was: running, and without their queues.
    """
    return _shared_node().start()


def shared_node_ca() -> Path:
    """The certificate of the authority that signed that of :func:`shared_node`."""
    ca = _shared_ca()
    assert ca is not None
    return ca.path


@contextlib.contextmanager
def line_to(node: RabbitMQServer, log: pytest.LogCaptureFixture, ca: Path | None = None) -> Iterator[Line]:
    """One to a node that runs, over TLS if the authority that signed its certificate is given."""
    writer = ReplyWriter(node.url(), persistent=True)
    with FaultProxy(node.port if ca is None else node.tls_port) as proxy:
        yield Line(node, proxy, writer, ca, log)
    writer.close()


@dataclass
class Line:
    """A proxy between a broker and its watcher, and what that says in the log."""

    node: RabbitMQServer
    proxy: FaultProxy
    #: Its replies are persistent.
    writer: ReplyWriter
    ca: Path | None
    log: pytest.LogCaptureFixture

    def __post_init__(self) -> None:
        self.log.set_level(logging.INFO, logger="bgresults")

    @contextlib.contextmanager
    def watcher(
        self,
        *,
        connect_timeout: float = _CONNECT_TIMEOUT,
        on_disconnect: Any = "wait",
        most_connections: int = 1,
        **options: Any,
    ) -> Iterator[ResultWatcher]:
        """One that is quick to notice, and to try again; it never has more than one connection, and leaves no queue.

        Args:
            most_connections: how many there may be at the same time, those of forked children among them.
            options: of ``AMQPOptions``.
        """
        port = self.proxy.port
        if self.ca is None:
            url = self.node.url(port=port)
        else:
            url = self.node.tls_url(port=port)
            options = {"ssl_ca_certs": str(self.ca), **options}
        amqp = AMQPOptions(**{"heartbeat": HEARTBEAT, "read_timeout": 2.0, **options})
        made = ResultWatcher(url, amqp=amqp, retry=QUICK, connect_timeout=connect_timeout, on_disconnect=on_disconnect)
        queue = None
        try:
            yield made
            assert self.proxy.most_connections <= most_connections
            queue = made.reply_to if made.connected else None
        finally:
            made.close()
        if queue is not None:
            wait_until(lambda: not self.writer.exists(queue), "the reply queue to be deleted")

    def consumed(self, watcher: ResultWatcher) -> ResultFuture:
        """A pending future, on a line that works."""
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        assert self.writer.consumers(watcher.reply_to) == 1
        self.log.clear()
        return future

    def reply(self, watcher: ResultWatcher, future: ResultFuture, result: Any = None) -> None:
        """A worker ends the task."""
        self.writer.write(watcher.reply_to, future.task_id, result)

    def noticed(self, watcher: ResultWatcher) -> None:
        """Return once the outage is noticed, which takes so long at most."""
        wait_until(lambda: not watcher.connected, "the outage to be noticed", NOTICED)

    def levels(self) -> list[str]:
        """Of the lines in the log about the broker; that a callback took long is another matter."""
        return [record.levelname for record in self.log.records if record.name == "bgresults.rpc"]

    def told(self, levels: list[str]) -> None:
        """A result may be there a moment before the line in the log."""
        wait_until(lambda: len(self.levels()) >= len(levels), "the log")
        assert self.levels() == levels, self.log.text

    def is_well_again(self, watcher: ResultWatcher, reconnects: int = 1) -> None:
        """One outage, told once, and counted; replies arrive, and the queue is the one that it was."""
        assert watcher.wait_ready(WAIT)
        future = watcher.watch(new_id())
        self.reply(watcher, future, "live")
        assert future.result(WAIT) == "live"
        assert watcher.stats().reconnects == reconnects
        assert watcher.stats().queues_lost == 0
        self.told(["WARNING", "INFO"] * reconnects)
