""":class:`Link`: one Redis connection: sending, reading what is there, and knowing whether the other end is alive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis.exceptions import NoPermissionError

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.failures import LINK_ERRORS, connection_lost

__all__ = ["Link"]

# What the server says to PING: in subscribed mode, else. An error is an answer as well.
_PONGS = (b"PONG", b"pong")


class Link:
    """A connection that notices silence.

    Whoever sends says how many answers are due. While any are, the server has ``read_timeout`` seconds from its last
    sign of life; while none are, a PING goes out after ``health_check_interval`` seconds of silence. So a link that
    died without a word is found within the sum of the two.
    """

    def __init__(self, connector: Connector, deadline: float, *, proven: bool) -> None:
        """Connect by ``deadline``, on the clock of ``time.monotonic``.

        Raises:
            ConnectionLost: there is no connection to be had.
        """
        self._connector = connector
        self._address = connector.address.text
        #: Whether what this link does has worked before; see :func:`connection_lost`.
        self.proven = proven
        self._due = 0
        self._heard_at = time.monotonic()
        try:
            self._connection, self.socket = connector.open(deadline)
        except LINK_ERRORS as error:
            raise connection_lost(error, self._address, proven=proven) from error
        try:
            # A proxy may accept for a server that is not there, and a server may let in whom it allows nothing.
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._ping()
            self.socket.settimeout(connector.read_timeout)
        except ConnectionLost:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def send(self, *command: Any, answers: int) -> None:
        """Send one command that will be answered by ``answers`` messages."""
        try:
            self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)
        except LINK_ERRORS as error:
            raise connection_lost(error, self._address, proven=self.proven) from error
        if not self._due:
            # The clock of the answer starts now; until here silence was all right.
            self._heard_at = time.monotonic()
        self._due += answers

    def answered(self, count: int = 1) -> None:
        """``count`` of the answers that were due have come."""
        self._due = max(0, self._due - count)

    def replies(self, limit: int) -> Iterator[Any]:
        """Yield what the server sent, until nothing is there or ``limit`` messages were read.

        A message that has begun to arrive is waited for, at most ``read_timeout`` seconds between two pieces of it.
        A message is only begun when there is something to read: redis-py takes a read that ends in the middle of
        a message for the end of the connection.
        """
        connection = self._connection
        can_read, read_response = connection.can_read, connection.read_response
        count = 0
        try:
            while count < limit and can_read(0):
                reply = read_response(disable_decoding=True)
                count += 1
                yield reply
        except LINK_ERRORS as error:
            raise connection_lost(error, self._address, proven=self.proven) from error
        finally:
            if count:
                self._heard_at = time.monotonic()

    def read(self) -> Any:
        """Return the next message; wait for it at most ``read_timeout`` seconds."""
        try:
            reply = self._connection.read_response(disable_decoding=True)
        except LINK_ERRORS as error:
            raise connection_lost(error, self._address, proven=self.proven) from error
        self._heard_at = time.monotonic()
        return reply

    def wait(self) -> None:
        """Wait until something is there to read, at most ``read_timeout`` seconds."""
        try:
            if not self._connection.can_read(self._connector.read_timeout):
                raise ConnectionLost(f"{self._address}: no answer for {self._connector.read_timeout:g} s")
        except LINK_ERRORS as error:
            raise connection_lost(error, self._address, proven=self.proven) from error

    def _ping(self) -> None:
        self.send("PING", answers=1)
        try:
            self.read()
        except ConnectionLost as lost:
            # A user without the right to PING got an answer all the same.
            if not isinstance(lost.__cause__, NoPermissionError):
                raise
        self.answered()

    def is_pong(self, reply: Any) -> bool:
        """Whether ``reply`` answers a PING that :meth:`check` sent; counts it if so."""
        if reply in _PONGS or (isinstance(reply, list) and reply and reply[0] in _PONGS):
            self.answered()
            return True
        return False

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
        self.send("PING", answers=1)
        return self._connector.read_timeout

    def close(self) -> None:
        """Close it politely. Idempotent; never raises."""
        try:
            self._connector.close(self._connection, self.socket)
        except LINK_ERRORS:
            # Closing a broken connection may fail in as many ways as using it; it is gone either way.
            pass

    def defuse(self) -> None:
        """In a forked child: make redis-py's object forget the socket, which is the parent's."""
        self._connection._sock = None
