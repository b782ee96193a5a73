"""What one look at a connection takes, and what becomes of messages that something bad comes after."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from redis.exceptions import InvalidResponse

from bgresults.consumers.redis.readers import Reader, reader_for

BODY = b"r" * 4096
MESSAGE = b"$4096\r\n" + BODY + b"\r\n"
# More than one read takes.
MANY = 40


class _Parser:
    """Says, by its module, what the connection was made for."""


class _Connection:
    def __init__(self, module: str) -> None:
        self._parser = type("Parser", (_Parser,), {"__module__": module})()


@pytest.fixture(params=["redis._parsers.hiredis", "redis._parsers.resp2"])
def parser(request: pytest.FixtureRequest) -> str:
    """With hiredis, where it is installed, and without."""
    return str(request.param)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.settimeout(10)
    with near, far:
        yield near, far


def reader_of(near: socket.socket, parser: str) -> Reader:
    reader = reader_for(_Connection(parser), near)
    reader.prepare()
    return reader


def test_many_reads_are_one_look(ends: tuple[socket.socket, socket.socket], parser: str) -> None:
    near, far = ends
    reader = reader_of(near, parser)
    far.sendall(MESSAGE * MANY)
    received = reader.available()
    assert received.messages == [BODY] * MANY
    assert received.alive
    assert not received.unread
    assert reader.available() == ([], False, False)


def test_small_messages_are_not_taken_all_at_once(ends: tuple[socket.socket, socket.socket], parser: str) -> None:
    """Whoever drains has something else to do in between."""
    near, far = ends
    reader = reader_of(near, parser)
    small = b"$1\r\nr\r\n"
    far.sendall(small * 20_000)
    first = reader.available()
    assert len(first.messages) < 20_000
    assert first.unread
    assert len(first.messages) + len(reader.available().messages) > len(first.messages)


@pytest.mark.parametrize(("last", "expected"), [(b"", ConnectionResetError), (b"!nonsense\r\n", InvalidResponse)])
def test_what_came_before_the_end_is_not_lost(
    ends: tuple[socket.socket, socket.socket], parser: str, last: bytes, expected: type[Exception]
) -> None:
    near, far = ends
    reader = reader_of(near, parser)
    far.sendall(MESSAGE * MANY + last)
    far.shutdown(socket.SHUT_WR)
    assert reader.available().messages == [BODY] * MANY
    with pytest.raises(expected):
        reader.available()
