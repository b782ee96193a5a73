"""Whoever answers in place of a broker: the thread survives it, in bounded memory, and works when that is back."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from amqp import serialization, spec

from bgresults import AMQPOptions, ResultWatcher, RetryPolicy, WatcherClosedError
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.peers import Behaviour, Peer, dripping, endless, once
from tests.support.results import new_id
from tests.support.rpc import port_of, through_port

pytestmark = pytest.mark.rabbitmq

WAIT = 30
FAST = RetryPolicy(initial=0.01, maximum=0.05)
CONNECT_TIMEOUT = 0.5
MIB = 1024 * 1024
# py-amqp has no types of its own.
_dumps: Any = serialization.dumps


def frame(payload: bytes, kind: int = 1, channel: int = 0, size: int | None = None) -> bytes:
    """One; of another size than it says, if need be."""
    return struct.pack(">BHI", kind, channel, len(payload) if size is None else size) + payload + b"\xce"


def method(signature: tuple[int, int], form: str = "", *values: Any, channel: int = 0) -> bytes:
    return frame(struct.pack(">HH", *signature) + _dumps(form, values), channel=channel)


START = method(spec.Connection.Start, "ooFSS", 0, 9, {"product": "x"}, "PLAIN AMQPLAIN", "en_US")
HEARTBEAT = frame(b"", kind=8)


def tune(frame_max: int) -> bytes:
    return method(spec.Connection.Tune, "BlB", 10, frame_max, 10)


def content(size: int) -> bytes:
    """A delivery to a consumer of any name, and the announcement of its body."""
    delivery = method(spec.Basic.Deliver, "sLbss", "1", 1, False, "", "q", channel=1)
    return delivery + frame(struct.pack(">HHQH", 60, 0, size, 0), kind=2, channel=1)


def broker(at_consume: Behaviour | None = None, at_open: Behaviour | None = None, frame_max: int = 131072) -> Behaviour:
    """Lets everybody in and says yes to everything; goes on as told when a connection is opened, or consumed on."""
    answers: list[tuple[tuple[int, int], Callable[[], bytes]]] = [
        (spec.Connection.StartOk, lambda: tune(frame_max)),
        (spec.Connection.Open, lambda: method(spec.Connection.OpenOk, "s", "")),
        (spec.Channel.Open, lambda: method(spec.Channel.OpenOk, "S", "", channel=1)),
        (spec.Basic.Qos, lambda: method(spec.Basic.QosOk, channel=1)),
        (spec.Queue.Declare, lambda: method(spec.Queue.DeclareOk, "sll", "q", 0, 0, channel=1)),
        (spec.Basic.Consume, lambda: method(spec.Basic.ConsumeOk, "s", "1", channel=1)),
    ]
    turns = {spec.Connection.Open: at_open, spec.Basic.Consume: at_consume}

    def behave(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(START)
        received = b""
        while piece := connection.recv(65536):
            received += piece
            while len(received) >= 8:
                size = struct.unpack_from(">I", received, 3)[0]
                said, received = received[7 : 7 + size], received[8 + size :]
                for signature, answer in answers:
                    if said[:4] == struct.pack(">HH", *signature):
                        connection.sendall(answer())
                        turn = turns.get(signature)
                        if turn is not None:
                            turn(connection)
                            return

    return behave


BEHAVIOURS: dict[str, Behaviour] = {
    "silence": once(b""),
    "garbage": once(bytes(range(128, 256)) * 10),
    "another protocol": once(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "another version": once(b"AMQP\x00\x01\x00\x00"),
    "a truncated frame": once(START[:40]),
    "a frame of four gigabytes": once(frame(b"x", size=2**32 - 1)),
    "an endless frame": endless(b"x", struct.pack(">BHI", 1, 0, 2**32 - 1)),
    "endless heartbeats": endless(HEARTBEAT),
    "an endless banner": endless(b"x"),
    "heartbeats that drip": dripping(HEARTBEAT, 0.02),
    "a start that drips": dripping(START, 0.02),
    "wrong types": once(method(spec.Connection.Start, "ooFSS", 0, 9, {}, "", "")),
    "unknown methods": once(method((77, 77)) + method((10, 99))),
    "a channel that nobody opened": once(START + method(spec.Basic.QosOk, channel=9)),
    "frames of four gigabytes agreed upon": broker(
        at_open=endless(b"x", struct.pack(">BHI", 1, 0, 2**31)), frame_max=2**32 - 1
    ),
    "garbage, consuming": broker(once(b"\xff" * 100)),
    "a frame of four gigabytes, consuming": broker(endless(b"x", struct.pack(">BHI", 3, 1, 2**32 - 1))),
    "a body of exabytes, consuming": broker(endless(frame(b"x" * 60000, kind=3, channel=1), content(2**62))),
    "a body without a delivery, consuming": broker(once(frame(b"x", kind=3, channel=1))),
    "a header of no class, consuming": broker(
        once(method(spec.Basic.Deliver, "sLbss", "1", 1, False, "", "q", channel=1) + frame(b"\xff" * 20, 2, 1))
    ),
    "a broken frame, consuming": broker(once(frame(b"\x00\x3c", channel=1))),
    "closing and closing, consuming": broker(endless(method(spec.Channel.Close, "BsBB", 404, "gone", 0, 0, channel=1))),
    "starting over, consuming": broker(endless(START)),
}
# The others take longer, and are much like these.
QUICK = {"endless heartbeats", "frames of four gigabytes agreed upon", "a body of exabytes, consuming"}


def slow_ones_marked(names: Iterable[str]) -> list[Any]:
    """As parameters."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as found:
        return int(found.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def watcher_of(url: str) -> Iterator[ResultWatcher]:
    amqp = AMQPOptions(heartbeat=1, read_timeout=CONNECT_TIMEOUT)
    with ResultWatcher(url, amqp=amqp, retry=FAST, connect_timeout=CONNECT_TIMEOUT) as made:
        yield made
        assert made.closed or made.stats().thread_alive
        made.close()
        assert not made.stats().thread_alive, "the thread was held up"


@pytest.mark.parametrize("name", slow_ones_marked(BEHAVIOURS))
def test_until_the_broker_is_back(rabbitmq_url: str, name: str) -> None:
    writer = ReplyWriter(rabbitmq_url)
    with Peer(BEHAVIOURS[name]) as peer, watcher_of(through_port(peer.port, rabbitmq_url)) as watcher:
        before = resident()
        future = watcher.watch(new_id())
        wait_until(lambda: peer.connections >= 3, "the third attempt", WAIT)
        assert resident() - before < 100 * MIB
        assert not future.done()
        peer.become(port_of(rabbitmq_url))
        assert watcher.wait_ready(WAIT)
        wait_until(lambda: writer.exists(watcher.reply_to), "the reply queue", WAIT)
        writer.write(watcher.reply_to, future.task_id, 1)
        assert future.result(WAIT) == 1
    writer.close()


@pytest.mark.parametrize(
    "name", slow_ones_marked(["endless heartbeats", "a start that drips", "starting over, consuming"])
)
def test_closing_meanwhile(rabbitmq_url: str, name: str) -> None:
    with Peer(BEHAVIOURS[name]) as peer, watcher_of(through_port(peer.port, rabbitmq_url)) as watcher:
        future = watcher.watch(new_id())
        wait_until(lambda: peer.connections >= 1, "an attempt")
        watcher.close()
        assert isinstance(future.exception(WAIT), WatcherClosedError)
