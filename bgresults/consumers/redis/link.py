""":class:`Link`: one Redis connection: sending, reading what is there, and knowing whether the other end is alive."""

from __future__ import annotations

import ssl
import time
from collections import deque
from typing import Any

from redis.exceptions import ResponseError

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.failures import connection_lost, is_sign_of_life
from bgresults.consumers.redis.readers import reader_for
from bgresults.polling import wait_readable

__all__ = ["Link"]

# What a connection says to PING when it is subscribed to something.
_SUBSCRIBERS_PONG = [b"pong", b""]


class Link:
    """A connection that notices silence.

    Whoever sends says how many answers are due. While any are, the server has ``read_timeout`` seconds from its last
    sign of life; while none are, a PING goes out after ``health_check_interval`` seconds of silence. So a link that
    died without a word is found within the sum of the two.

    Whatever redis-py, a parser or the socket raises becomes a :class:`ConnectionLost`: a peer that speaks nonsense is
    a lost connection, and not the end of the thread that listens to it.
    """

    def __init__(self, connector: Connector, deadline: float, *, subscribes: bool, proven: bool) -> None:
        """Connect by ``deadline``, on the clock of ``time.monotonic``.

        Raises:
            ConnectionLost: there is no connection to be had.
        """
        self._connector = connector
        self._address = connector.where
        self._subscribes = subscribes
        #: Whether what this link does has worked before; see :func:`connection_lost`.
        self.proven = proven
        #: More may have arrived than a ``select`` can see.
        self.unread = False
        self._due = 0
        self._pinging = False
        self._heard_at = time.monotonic()
        # Received together with an answer that somebody waited for.
        self._waiting: deque[Any] = deque()
        try:
            self._connection, self.socket = connector.open(deadline)
            self._reader = reader_for(self._connection, self.socket)
            self._reader.prepare()
        except Exception as error:
            raise self._lost(error) from error
        try:
            # A proxy may accept for a server that is not there, and a server may let in whom it allows nothing.
            self._ping()
            while self._pinging:
                self._wait_until(deadline)
                self._take_in()
        except ConnectionLost:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def send(self, *command: Any, answers: int) -> None:
        """Send one command that will be answered by ``answers`` messages."""
        try:
            packed = self._connection.pack_command(*command)
            self.socket.settimeout(self._connector.read_timeout)
            for piece in packed:
                self.socket.sendall(piece)
            self._reader.prepare()
        except Exception as error:
            raise self._lost(self._parting_words(error)) from error
        if not self._due:
            # The clock of the answer starts now; until here silence was all right.
            self._heard_at = time.monotonic()
        self._due += answers

    def answered(self, count: int = 1) -> None:
        """``count`` of the answers that were due have come."""
        self._due = max(0, self._due - count)

    def receive(self) -> list[Any]:
        """Return the messages that have arrived, pongs left out; perhaps not all of them: see :attr:`unread`.

        Raises:
            ConnectionLost: the connection broke, or the server refused something.
        """
        self._take_in()
        if not self._waiting:
            return []
        messages = list(self._waiting)
        self._waiting.clear()
        return messages

    def answer(self, deadline: float | None = None) -> Any:
        """Wait for the next message: until ``deadline``, or ``read_timeout`` seconds between two signs of life."""
        while not self._waiting:
            self._wait_until(time.monotonic() + self._connector.read_timeout if deadline is None else deadline)
            self._take_in()
        self.answered()
        message = self._waiting.popleft()
        # What came together with it is out of sight of a select, like what a buffer holds.
        self.unread = self.unread or bool(self._waiting)
        return message

    def wait(self) -> None:
        """Wait until something is there to receive, at most ``read_timeout`` seconds."""
        if not self._waiting:
            self._wait_until(time.monotonic() + self._connector.read_timeout)

    def check(self, now: float) -> float:
        """Send a PING if it is time; return the seconds until the next look.

        Raises:
            ConnectionLost: the server has been silent for too long.
        """
        silent_for = now - self._heard_at
        if self._due:
            patience = self._connector.read_timeout - silent_for
            if patience <= 0:
                raise ConnectionLost(
                    f"{self._address}: no answer for {self._connector.read_timeout:g} s; the link is taken for dead"
                )
            return patience
        rest = self._connector.health_check_interval - silent_for
        if rest > 0:
            return rest
        self._ping()
        return min(self._connector.read_timeout, self._connector.health_check_interval)

    def close(self) -> None:
        """Close it politely. Idempotent; never raises."""
        try:
            self._connector.close(self._connection, self.socket)
        except Exception:  # noqa: BLE001 - closing a broken connection may fail in as many ways as using it
            pass

    def defuse(self) -> None:
        """In a forked child: make redis-py's object forget the socket, which is the parent's."""
        self._connection._sock = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        """Ask for a sign of life; nothing else is due, so the next message is the answer."""
        self.send("PING", answers=1)
        self._pinging = True

    def _take_in(self) -> None:
        """Move what has arrived to where it waits for being handled."""
        try:
            messages, self.unread, alive = self._reader.available()
        except Exception as error:
            raise self._lost(error) from error
        if alive:
            self._heard_at = time.monotonic()
        if self._pinging and messages:
            self._answered_ping(messages)
        for message in messages:
            if isinstance(message, ResponseError):
                raise self._lost(message)
        self._waiting.extend(messages)

    def _answered_ping(self, messages: list[Any]) -> None:
        """Take the answer to a PING out. On a subscriber messages may come before it."""
        for place, message in enumerate(messages):
            # A refusal may be an answer too.
            if message == b"PONG" or (self._subscribes and message == _SUBSCRIBERS_PONG) or is_sign_of_life(message):
                del messages[place]
                self._pinging = False
                self.answered()
                return

    def _parting_words(self, error: Exception) -> Exception:
        """Why the other end hung up, if it said so before; a failed send alone does not know.

        A server that turns a client's certificate down says that after the handshake of TLS 1.3.
        """
        try:
            if wait_readable(self.socket, 0.05):
                self._reader.available()
        except Exception as said:  # noqa: BLE001 - it had failed before
            return said if isinstance(said, ssl.SSLError) else error
        return error

    def _wait_until(self, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        # Of a peer that never pauses as well there is an end.
        if seconds <= 0 or (not self.unread and not wait_readable(self.socket, seconds)):
            raise ConnectionLost(f"{self._address}: no answer in time")

    def _lost(self, error: BaseException) -> ConnectionLost:
        return connection_lost(error, self._address, proven=self.proven)
