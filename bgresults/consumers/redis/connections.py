"""Opening one connection to a Redis server.

redis-py speaks the protocol: AUTH, SELECT, packing and parsing. The socket below it is opened by us, see
``consumers/sockets.py``; and it never connects by itself, or what was published in between would be lost in silence.
"""

from __future__ import annotations

import inspect
import math
import socket
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.deadlines import DeadlineSocket
from bgresults.consumers.sockets import InheritedSockets, SocketOpener
from bgresults.consumers.tls import check_files, tls_settings
from bgresults.urls import RedisAddress

__all__ = ["DEFAULT_HEALTH_CHECK_INTERVAL", "DEFAULT_READ_TIMEOUT", "Connector"]

DEFAULT_READ_TIMEOUT = 5.0
DEFAULT_HEALTH_CHECK_INTERVAL = 15.0


class _Connection(redis.Connection):
    """redis-py's connection over a socket that we open, and that is read by ``deadline`` until it is logged in."""

    def __init__(self, *, opener: Callable[[], socket.socket], deadline: float, **kwargs: Any) -> None:
        self._opener = opener
        self._deadline = deadline
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        return DeadlineSocket(self._opener(), self._deadline)


class _Given(redis.CredentialProvider):
    """Credentials that are known already."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def get_credentials(self) -> Any:
        return self._credentials


class Connector:
    """Opens connections to one address.

    Args:
        address: where the server is, and how to speak to it.
        connect_timeout: seconds.
        sockets: where to remember the sockets; None for a new place.
    """

    def __init__(self, address: RedisAddress, connect_timeout: float, sockets: InheritedSockets | None = None) -> None:
        self.address = address
        self.host, self.port = address.host, address.port
        self.connect_timeout = connect_timeout
        options = address.options
        self.read_timeout = options.read_timeout or DEFAULT_READ_TIMEOUT
        self.health_check_interval = options.health_check_interval or DEFAULT_HEALTH_CHECK_INTERVAL
        self._opener = SocketOpener(
            keepalive=options.socket_keepalive is not False, tls=options if address.tls else None, sockets=sockets
        )
        self.sockets = self._opener.sockets
        self._credentials: _Given | None = None
        check_files(options, used=address.tls)

    @property
    def where(self) -> str:
        """What a log line or an error message calls the server."""
        return self.address.text

    def locate(self, deadline: float) -> None:
        """Find out where the server is now, by ``deadline``.

        Raises:
            ConnectionLost: nobody knows.
        """

    def check_location(self, now: float, sock: socket.socket) -> float:
        """See whether the server that ``sock`` leads to is still the right one; return the seconds until the next look.

        Raises:
            ConnectionLost: it is not.
        """
        return math.inf

    def ask_for_credentials(self) -> None:
        """Ask the user's provider, if there is one, what the next connections log in with.

        It may have to ask a vault: so once for both connections, and before the clock of an attempt starts.

        Raises:
            ConnectionLost: it raised something.
        """
        provider = self.address.options.credential_provider
        if provider is None:
            return
        try:
            self._credentials = _Given(provider.get_credentials())
        except Exception as error:
            name = type(error).__name__
            raise ConnectionLost(f"{self.address.text}: the credential provider raised {name}: {error}") from error

    def open(self, deadline: float) -> tuple[Any, socket.socket]:
        """Return a connection that is authenticated and has its database, and its socket, by ``deadline``.

        Raises:
            redis.RedisError, OSError: as redis-py does; nothing stays open then.
        """
        opened: list[socket.socket] = []

        def opener() -> socket.socket:
            sock = self._open_socket(deadline)
            opened.append(sock)
            return sock

        connection = self._connection(opener, deadline)
        try:
            connection.connect()
            if not opened:
                # A class of the user's opened its own socket, and only now we get to know it.
                opened.append(connection._sock)
                self.sockets.adopt(connection._sock)
                self._opener.tune(connection._sock)
            self._greet(connection, deadline)
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            connection.disconnect()
            for sock in opened:
                self.sockets.forget(sock)
            raise
        sock = opened[0]
        sock.settimeout(self.read_timeout)
        return connection, sock

    def close(self, connection: Any, sock: socket.socket) -> None:
        """Close politely what :meth:`open` returned."""
        connection.disconnect()
        self.sockets.forget(sock)

    def _greet(self, connection: Any, deadline: float) -> None:
        """Make sure that this is the right server. Raises like :meth:`open`."""

    def _connection(self, opener: Callable[[], socket.socket], deadline: float) -> Any:
        address, options = self.address, self.address.options
        settings: dict[str, Any] = {
            "db": address.database,
            "username": options.username,
            "password": options.password,
            "credential_provider": self._credentials,
            "socket_timeout": self.read_timeout,
            "socket_connect_timeout": self.connect_timeout,
            # RESP2: one shape of pub/sub message for every server and parser.
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
        }
        if options.connection_class is None:
            return _Connection(
                opener=opener,
                deadline=deadline,
                host=self.host,
                port=self.port,
                **settings,
                **_without_client_info(),
            )
        if address.path is not None:
            settings["path"] = address.path
        else:
            settings |= {"host": self.host, "port": self.port}
        if address.tls:
            settings |= tls_settings(options)
        return options.connection_class(**settings)

    def _open_socket(self, deadline: float) -> socket.socket:
        address = self.address
        if address.path is not None:
            return self._opener.open_path(address.path, deadline)
        return self._opener.open(self.host, self.port, deadline)


def _without_client_info() -> dict[str, Any]:
    """Keep redis-py from naming itself to the server: two round trips, and a command that an ACL may deny."""
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters:
        return {"driver_info": None}
    return {"lib_name": None, "lib_version": None}
