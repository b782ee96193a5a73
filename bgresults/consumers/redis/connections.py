"""Opening one connection to a Redis server, with its socket known from the first moment.

redis-py speaks the protocol: AUTH, SELECT, packing and parsing. The socket below it is opened here, for three reasons:

* a fork during ``connect()`` or during the TLS handshake copies the descriptor into the child, which can only close
  what it knows of;
* one time limit covers all addresses of a host, the TLS handshake and the first answers together, not each;
* redis-py's client would reconnect behind our back, and what was published in between would be lost in silence.
"""

from __future__ import annotations

# getaddrinfo() imports this one when it is first called, in the drain thread; and a fork in the middle of an import
# leaves the child with a locked module for ever.
import encodings.idna  # noqa: F401 - for its effect
import inspect
import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.tls import tls_context, tls_settings
from bgresults.forking import leaf_lock
from bgresults.urls import RedisAddress

__all__ = ["DEFAULT_HEALTH_CHECK_INTERVAL", "DEFAULT_READ_TIMEOUT", "Connector", "InheritedSockets"]

DEFAULT_READ_TIMEOUT = 5.0
DEFAULT_HEALTH_CHECK_INTERVAL = 15.0

# Linux spells them like this; a platform that has others keeps its own defaults.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class InheritedSockets:
    """The sockets of one consumer, from their creation on, so that a forked child can close its copies."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def create(self, family: int) -> socket.socket:
        """Make a stream socket. Under the leaf lock: no fork can come between the making and the remembering."""
        with leaf_lock():
            sock = socket.socket(family, socket.SOCK_STREAM)
            self._sockets.append(sock)
        return sock

    def wrap(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
        """Put TLS over ``sock``, before the handshake: the new object takes the descriptor over from the old one."""
        with leaf_lock():
            wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            self._sockets.append(wrapped)
        self.forget(sock)
        return wrapped

    def adopt(self, sock: socket.socket) -> None:
        """Remember a socket that somebody else made."""
        self._sockets.append(sock)

    def forget(self, sock: socket.socket | None) -> None:
        """Its descriptor is closed, or no longer its own."""
        self._sockets = [other for other in self._sockets if other is not sock]

    def close_all(self) -> None:
        """Close the descriptors, and nothing else: no ``shutdown``, no TLS farewell. The parent goes on using them."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.close()


class _Connection(redis.Connection):
    """redis-py's connection over a socket that we open."""

    def __init__(self, *, opener: Callable[[], socket.socket], **kwargs: Any) -> None:
        self._opener = opener
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        return self._opener()


class _Given(redis.CredentialProvider):
    """Credentials that are known already."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def get_credentials(self) -> Any:
        return self._credentials


class Connector:
    """Opens connections to one address."""

    def __init__(self, address: RedisAddress, connect_timeout: float) -> None:
        self.address = address
        self.connect_timeout = connect_timeout
        options = address.options
        self.read_timeout = options.read_timeout or DEFAULT_READ_TIMEOUT
        self.health_check_interval = options.health_check_interval or DEFAULT_HEALTH_CHECK_INTERVAL
        self.sockets = InheritedSockets()
        self._credentials: _Given | None = None
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            path = getattr(options, name)
            if path is not None and not os.path.isfile(path):
                raise ValueError(f"{name}: there is no file {path!r}")
        if address.tls:
            try:
                tls_context(options)
            except (ssl.SSLError, OSError) as error:
                raise ValueError(
                    f"the files named by ssl_ca_certs, ssl_certfile and ssl_keyfile cannot be used: {error}"
                ) from error

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

        connection = self._connection(opener)
        try:
            connection.connect()
            if not opened:
                # A class of the user's opened its own socket, and only now we get to know it.
                self._tune(connection._sock)
                self.sockets.adopt(connection._sock)
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            connection.disconnect()
            for sock in opened:
                self.sockets.forget(sock)
            raise
        sock = opened[0] if opened else connection._sock
        sock.settimeout(self.read_timeout)
        return connection, sock

    def close(self, connection: Any, sock: socket.socket) -> None:
        """Close politely what :meth:`open` returned."""
        connection.disconnect()
        self.sockets.forget(sock)

    def _connection(self, opener: Callable[[], socket.socket]) -> Any:
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
                host=address.host,
                port=address.port,
                **settings,
                **_without_client_info(),
            )
        if address.path is not None:
            settings["path"] = address.path
        else:
            settings |= {"host": address.host, "port": address.port}
        if address.tls:
            settings |= tls_settings(options)
        return options.connection_class(**settings)

    def _open_socket(self, deadline: float) -> socket.socket:
        address = self.address
        if address.path is not None:
            return self._connected(socket.AF_UNIX, address.path, deadline)
        failure: OSError | None = None
        for family, _, _, _, target in socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM):
            try:
                sock = self._connected(family, target, deadline)
            except OSError as error:
                failure = error
                continue
            return self._encrypted(sock, deadline) if address.tls else sock
        raise failure or OSError(f"{address.host} has no address")

    def _connected(self, family: int, target: Any, deadline: float) -> socket.socket:
        sock = self.sockets.create(family)
        try:
            self._tune(sock)
            sock.settimeout(_remaining(deadline))
            sock.connect(target)
            # For the first answers; the read timeout takes over when the connection is ready.
            sock.settimeout(_remaining(deadline))
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            self._discard(sock)
            raise
        return sock

    def _tune(self, sock: socket.socket) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        keepalive = self.address.options.socket_keepalive is not False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive)
        for name, value in _KEEPALIVE if keepalive else ():
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def _encrypted(self, sock: socket.socket, deadline: float) -> socket.socket:
        current: socket.socket = sock
        try:
            # Made anew for each connection: certificates are renewed while a process runs.
            current = wrapped = self.sockets.wrap(sock, tls_context(self.address.options), self.address.host)
            wrapped.settimeout(_remaining(deadline))
            wrapped.do_handshake()
            wrapped.settimeout(_remaining(deadline))
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            self._discard(current)
            raise
        return current

    def _discard(self, sock: socket.socket) -> None:
        sock.close()
        self.sockets.forget(sock)


def _remaining(deadline: float) -> float:
    """Seconds until ``deadline``; raises when there are none left, since 0 would mean "do not block" to a socket."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out while connecting")
    return seconds


def _without_client_info() -> dict[str, Any]:
    """Keep redis-py from naming itself to the server: two round trips, and a command that an ACL may deny."""
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters:
        return {"driver_info": None}
    return {"lib_name": None, "lib_version": None}
