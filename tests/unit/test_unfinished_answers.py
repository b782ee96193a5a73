"""How long, and how large, an answer of a Redis may become while it is not complete."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis._parsers import _RESP2Parser
from redis.exceptions import ResponseError

from bgresults.consumers.redis import deadlines
from bgresults.consumers.redis.deadlines import DeadlineSocket, UnfinishedAnswer
from bgresults.consumers.redis.readers import _RedisPyReader

MIB = 1024 * 1024


class Clock:
    """In place of ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deadlines, "time", made)
    return made


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_it_may_take_a_minute_and_more_for_what_comes(clock: Clock) -> None:
    answer = UnfinishedAnswer()
    answer.received(1)
    clock.now += 59
    answer.received(1)
    clock.now += 100
    # A hundred megabytes in that time are a slow line, and ten bytes are none.
    answer.received(100 * MIB)
    answer.complete()
    answer.received(1)
    clock.now += 61
    with pytest.raises(ConnectionAbortedError, match="for 61 s"):
        answer.received(10)


def test_it_may_be_as_large_as_what_is_asked_for(clock: Clock) -> None:
    answer = UnfinishedAnswer()
    answer.received(8 * 512 * MIB)
    with pytest.raises(ConnectionAbortedError, match="without an end"):
        answer.received(2 * MIB)


def test_silence_between_two_answers_is_none_of_it(clock: Clock, ends: tuple[socket.socket, socket.socket]) -> None:
    """With a parser of the user's. The first answer comes in two pieces, the second one much later."""
    ours, theirs = ends
    connection: Any = redis.Connection(parser_class=_RESP2Parser, protocol=2)
    connection._sock = DeadlineSocket(ours, clock.now + 60)
    connection._parser.on_connect(connection)
    reader = _RedisPyReader(connection, ours)
    for _ in range(3):
        theirs.sendall(b"$4\r\nab")
        rest = threading.Timer(0.05, theirs.sendall, [b"cd\r\n"])
        rest.start()
        assert reader.available().messages == [b"abcd"]
        rest.join()
        assert reader.available().messages == []
        clock.now += 1000
    theirs.sendall(b"-ERR refused\r\n+OK\r\n")
    refusal, status = reader.available().messages
    assert isinstance(refusal, ResponseError)
    assert status == b"OK"


def test_while_connecting_there_is_one_deadline_for_all_reads(
    clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    sock = DeadlineSocket(ours, clock.now + 2)
    theirs.sendall(b"abc")
    assert sock.recv(1) == b"a"
    clock.now += 1.5
    assert sock.recv_into(bytearray(1)) == 1
    assert ours.gettimeout() == pytest.approx(0.5)
    clock.now += 0.6
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.begin()
    assert sock.recv(1) == b"c"
