"""Taking what a server sent out of a connection, as many messages at a time as have arrived.

redis-py reads a message for a command: per message it asks whether there is one, in two to five system calls, and
waits for the rest of one that has begun. A subscriber gets thousands in a burst and must not stand still for one that
trickles in. So the bytes go from the socket to a parser directly: that of hiredis, which redis-py uses too, or one of
our own. If the user's connection class has chosen another one, redis-py's methods are used, in the order that is safe:
ask first, then read.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, NamedTuple, Protocol

from redis.exceptions import InvalidResponse, ResponseError

from bgresults.consumers.redis.deadlines import DeadlineSocket, UnfinishedAnswer
from bgresults.consumers.redis.parsing import ReplyParser

try:
    import hiredis as _hiredis
except ImportError:
    hiredis: Any = None
else:
    hiredis = _hiredis

__all__ = ["Reader", "Received", "reader_for"]

# One read.
_BYTES = 65536
# What a parser is given at a time: with each kibibyte that is done hiredis moves all that is left to the front.
_SLICE = 8192
# One look takes a megabyte, or about so many messages: each has its price, and what callers want waits meanwhile.
_PIECES = 16
_MESSAGES = 500
_NOTHING_YET = (BlockingIOError, InterruptedError, ssl.SSLWantWriteError)


class Received(NamedTuple):
    """What one look at a connection brought."""

    #: Complete messages, errors of the server among them as exceptions.
    messages: list[Any]
    #: There may be more to read now, which a ``select`` would not see.
    unread: bool
    #: Bytes came, if only the beginning of a message: the other end is alive.
    alive: bool


class Reader(Protocol):
    """Reads one connection. The socket is in the state that :meth:`prepare` left it in."""

    def prepare(self) -> None:
        """The connection is ready: from now on only this object reads it."""

    def available(self) -> Received:
        """Take the messages that have arrived; never waits for one that has not begun.

        Raises:
            Exception: the connection broke, or the server does not speak the protocol; a parser may raise anything.
        """
        ...


def reader_for(connection: Any, sock: socket.socket) -> Reader:
    """The best reader that this installation has; redis-py's, for a connection with a parser of somebody else's."""
    module = type(connection._parser).__module__
    if not module.startswith("redis."):
        return _RedisPyReader(connection, sock)
    if hiredis is None or not module.endswith("hiredis"):
        return _ParsingReader(sock, ReplyParser())
    return _ParsingReader(sock, hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError))


class _ParsingReader:
    """Non-blocking: a message may take as long as it likes to arrive, and nobody waits for it."""

    def __init__(self, sock: socket.socket, parser: Any) -> None:
        self._socket = sock
        self._buffer = bytearray(_BYTES)
        self._parser = parser
        self._answer = UnfinishedAnswer()
        # What comes after the messages that were taken last.
        self._failure: Exception | None = None

    def prepare(self) -> None:
        self._socket.setblocking(False)

    def available(self) -> Received:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        messages: list[Any] = []
        alive = unread = False
        for _ in range(_PIECES):
            try:
                count = self._socket.recv_into(self._buffer)
                if not count:
                    raise ConnectionResetError("the server closed the connection")
                self._parse(count, messages)
            except ssl.SSLWantReadError:
                # Bytes came, but no complete TLS record yet.
                return Received(messages, False, True)
            except _NOTHING_YET:
                return Received(messages, False, alive)
            except Exception as error:
                if not messages:
                    raise
                # What came before it is handled first.
                self._failure = error
                return Received(messages, True, True)
            alive = True
            # A full buffer: there is more. TLS: a whole record is decrypted at a time, the rest of it out of sight.
            unread = count == _BYTES or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)
            if not unread or len(messages) >= _MESSAGES:
                break
        return Received(messages, unread, alive)

    def _parse(self, count: int, messages: list[Any]) -> None:
        """Append what is complete with so many bytes more."""
        before = len(messages)
        feed, gets = self._parser.feed, self._parser.gets
        for start in range(0, count, _SLICE):
            feed(self._buffer, start, min(_SLICE, count - start))
            # In RESP2 no message is False, so it always means that there is no other one yet.
            while (message := gets()) is not False:
                messages.append(message)
        if len(messages) > before:
            self._answer.complete()
        else:
            self._answer.received(count)


class _RedisPyReader:
    """A read that meets the end of what has arrived would be an error to redis-py, so each one is asked for first."""

    def __init__(self, connection: Any, sock: socket.socket) -> None:
        self._connection = connection
        self._socket = sock
        # The first answer belongs to the connecting, and is read by its deadline.
        self._greeted = False

    def prepare(self) -> None:
        """redis-py sets its own time limits."""

    def available(self) -> Received:
        connection = self._connection
        messages: list[Any] = []
        if self._greeted:
            self._next_answer()
        while len(messages) < _MESSAGES and connection.can_read(0):
            try:
                messages.append(connection.read_response(disable_decoding=True))
            except ResponseError as error:
                messages.append(error)
            self._greeted = True
            self._next_answer()
        return Received(messages, len(messages) == _MESSAGES, bool(messages))

    def _next_answer(self) -> None:
        # A connection of the user's own class has a socket of its own.
        sock = self._connection._sock
        if isinstance(sock, DeadlineSocket):
            sock.begin()
