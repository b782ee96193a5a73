""":class:`MasterConnector`: connections to whichever server the sentinels call the master.

A failover is noticed in one of three ways:

* the sentinels cut the clients of a server that they turn into a replica;
* a master that died or hangs does not answer a PING;
* a server that believes to be the master, while the sentinels, which cannot reach it, have made another one, stays as
  it is, and so do connections to one that an administrator turns into a replica. So the sentinels are asked again and
  again.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from redis.exceptions import ConnectionError as WrongServerError
from redis.exceptions import ResponseError

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.sentinels import Sentinels
from bgresults.consumers.sockets import remaining
from bgresults.urls import RedisAddress

__all__ = ["MasterConnector", "connector_for"]

# How much rarer a question may become that nobody answers: each may hold the drain thread up.
_LONGEST_PAUSE = 16


def connector_for(address: RedisAddress, connect_timeout: float) -> Connector:
    """The connector for an address."""
    return (MasterConnector if address.sentinels else Connector)(address, connect_timeout)


class MasterConnector(Connector):
    """Opens connections to the master of the moment."""

    def __init__(self, address: RedisAddress, connect_timeout: float) -> None:
        super().__init__(address, connect_timeout)
        self._sentinels = Sentinels(address, connect_timeout, self.sockets)
        self._located = False
        self._next_look = 0.0
        # Intervals until the next question: more and more as long as nobody answers.
        self._pause = 1

    @property
    def where(self) -> str:
        if not self._located:
            return self.address.text
        return f"{self.address.text} ({self.address.options.master_name} at {self.host}:{self.port})"

    def ask_for_credentials(self) -> None:
        super().ask_for_credentials()
        self._sentinels.ask_for_credentials()

    def locate(self, deadline: float) -> None:
        self._located = False
        self.host, self.port = self._sentinels.master(deadline)
        self._located = True
        self._pause = 1
        self._next_look = time.monotonic() + self.health_check_interval

    def check_location(self, now: float, sock: socket.socket) -> float:
        """See the base class. Asks the sentinels once per ``health_check_interval``, within half a connect timeout.

        That they do not answer is no reason to leave a server that does.
        """
        if now >= self._next_look:
            try:
                self._sentinels.ask_for_credentials()
                host, port = self._sentinels.master(now + self.connect_timeout / 2)
            except ConnectionLost:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            else:
                self._pause = 1
                if (host, port) != (self.host, self.port) and not _leads_to(sock, host, port):
                    raise ConnectionLost(f"{self.where}: the master is now at {host}:{port}, the sentinels say")
            now = time.monotonic()
            self._next_look = now + self._pause * self.health_check_interval
        return self._next_look - now

    def _greet(self, connection: Any, deadline: float) -> None:
        connection._sock.settimeout(remaining(deadline))
        role = _role(connection)
        if role != b"master":
            raise WrongServerError("the sentinels call it the master, and it is none; a failover may be under way")


def _role(connection: Any) -> Any:
    """What the server at the other end is.

    HELLO is allowed to every user. ROLE counts as dangerous, and many users may not say it; but servers before Redis 6
    know no other.
    """
    try:
        connection.send_command("HELLO", "2")
        words = connection.read_response()
        return dict(zip(words[::2], words[1::2], strict=True)).get(b"role")
    except ResponseError as error:
        if "unknown command" not in str(error).lower():
            raise
    connection.send_command("ROLE")
    return connection.read_response()[0]


def _leads_to(sock: socket.socket, host: str, port: int) -> bool:
    """Whether a socket is connected to that place, whatever the name is that it goes by."""
    try:
        there = sock.getpeername()[:2]
        return any(target[:2] == there for *_, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, ValueError, OverflowError):
        # Closed, or nothing that could be a host and a port.
        return False
