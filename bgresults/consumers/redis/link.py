""":class:`Link`: one Redis connection: sending, reading what is there, and knowing whether the other end is alive."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import ResponseError

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.failures import LINK_ERRORS, connection_lost, is_denied
from bgresults.consumers.redis.readers import reader_for
from bgresults.polling import wait_readable

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
            raise self._lost(error) from error
        self._reader = reader_for(self._connection, self.socket)
        self._reader.prepare()
        #: More may have arrived than a ``select`` can see.
        self.unread = False
        try:
            # A proxy may accept for a server that is not there, and a server may let in whom it allows nothing.
            self.send("PING", answers=1)
            self.answer(deadline - time.monotonic(), may_be_denied=True)
        except ConnectionLost:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.socket.fileno()

    def send(self, *command: Any, answers: int) -> None:
        """Send one command that will be answered by ``answers`` messages."""
        try:
            self.socket.settimeout(self._connector.read_timeout)
            self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)
            self._reader.prepare()
        except LINK_ERRORS as error:
            raise self._lost(error) from error
        if not self._due:
            # The clock of the answer starts now; until here silence was all right.
            self._heard_at = time.monotonic()
        self._due += answers

    def answered(self, count: int = 1) -> None:
        """``count`` of the answers that were due have come."""
        self._due = max(0, self._due - count)

    def receive(self) -> list[Any]:
        """Return the messages that have arrived, perhaps not all of them: see :attr:`unread`.

        Raises:
            ConnectionLost: the connection broke, or the server refused something.
        """
        try:
            messages, self.unread = self._reader.available()
        except LINK_ERRORS as error:
            raise self._lost(error) from error
        if messages or self.unread:
            self._heard_at = time.monotonic()
        for message in messages:
            if isinstance(message, ResponseError):
                raise self._lost(message)
        return messages

    def wait(self) -> None:
        """Wait until something is there to receive.

        Raises:
            ConnectionLost: nothing came for ``read_timeout`` seconds.
        """
        if not self.unread and not wait_readable(self.socket, self._connector.read_timeout):
            raise ConnectionLost(f"{self._address}: no answer for {self._connector.read_timeout:g} s")

    def answer(self, seconds: float, *, may_be_denied: bool = False) -> Any:
        """Wait for the one answer that is due, at most ``seconds`` seconds between two signs of life.

        Args:
            may_be_denied: return None if the server denies the command, for want of permission.
        """
        while True:
            try:
                if not wait_readable(self.socket, seconds):
                    raise TimeoutError(f"no answer within {seconds:.3g} s")
                messages, self.unread = self._reader.available()
            except LINK_ERRORS as error:
                raise self._lost(error) from error
            for message in messages:
                self.answered()
                if not isinstance(message, ResponseError):
                    return message
                if may_be_denied and is_denied(message):
                    return None
                raise self._lost(message)

    def _lost(self, error: BaseException) -> ConnectionLost:
        return connection_lost(error, self._address, proven=self.proven)

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
