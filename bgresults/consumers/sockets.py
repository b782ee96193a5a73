"""Opening the socket of a connection, so that it is known from the first moment.

The libraries that speak the protocols could do it themselves. It is done here for two reasons:

* a fork during ``connect()`` or during the TLS handshake copies the descriptor into the child, which can only close
  what it knows of;
* one time limit covers all addresses of a host and the TLS handshake together, not each.
"""

from __future__ import annotations

# getaddrinfo() imports this one when it is first called, in the drain thread; and a fork in the middle of an import
# leaves the child with a locked module for ever.
import encodings.idna  # noqa: F401 - for its effect
import errno
import os
import socket
import ssl
import time
from typing import Any

from bgresults.consumers.tls import TLSOptions, tls_context
from bgresults.forking import leaf_lock

__all__ = ["InheritedSockets", "SocketOpener", "remaining"]

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

    def all(self) -> list[socket.socket]:
        """Those that are known now. Any thread; whoever owns one may close it meanwhile."""
        return list(self._sockets)

    def close_all(self) -> None:
        """Close the descriptors, and nothing else: no ``shutdown``, no TLS farewell. The parent goes on using them."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.close()


class SocketOpener:
    """Opens sockets that their owner remembers.

    Args:
        keepalive: whether TCP looks after a silent link.
        tls: how to encrypt TCP connections; None for not at all.
        sockets: where its owner remembers sockets already; None for a new place.
    """

    def __init__(self, *, keepalive: bool, tls: TLSOptions | None, sockets: InheritedSockets | None = None) -> None:
        self.sockets = InheritedSockets() if sockets is None else sockets
        self._keepalive = keepalive
        self._tls = tls

    def open_path(self, path: str, deadline: float) -> socket.socket:
        """Connect to a Unix socket by ``deadline``, on the clock of ``time.monotonic``. Raises OSError."""
        return self._connected(socket.AF_UNIX, path, deadline)

    def open(self, host: str, port: int, deadline: float) -> socket.socket:
        """Connect to a host, to the first of its addresses that answers, by ``deadline``. Raises OSError."""
        failure: OSError | None = None
        pid = os.getpid()
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        if pid != os.getpid():
            # A fork copies greenlets, and this one waited for the answer: what it connected would be nobody's.
            raise ConnectionAbortedError("this process was forked during the attempt to connect")
        for family, _, _, _, target in addresses:
            try:
                sock = self._connected(family, target, deadline)
            except OSError as error:
                failure = error
                continue
            return sock if self._tls is None else self._encrypted(sock, self._tls, host, deadline)
        raise failure or OSError(f"{host} has no address")

    def tune(self, sock: socket.socket) -> None:
        """Set the options of a TCP socket, whoever made it."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self._keepalive)
        for name, value in _KEEPALIVE if self._keepalive else ():
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def discard(self, sock: socket.socket) -> None:
        """Close and forget it."""
        sock.close()
        self.sockets.forget(sock)

    def _connected(self, family: int, target: Any, deadline: float) -> socket.socket:
        sock = self.sockets.create(family)
        try:
            self.tune(sock)
            sock.settimeout(remaining(deadline))
            sock.connect(target)
            # For the first answers.
            sock.settimeout(remaining(deadline))
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            self.discard(sock)
            raise
        return sock

    def _encrypted(self, sock: socket.socket, tls: TLSOptions, host: str, deadline: float) -> socket.socket:
        current: socket.socket = sock
        try:
            # Made anew for each connection: certificates are renewed while a process runs.
            context = tls_context(tls)
            # Asked now, when a file of certificates was read, and again when one of a folder was looked for.
            if (shortage := _shortage()) is not None:
                raise shortage
            current = wrapped = self.sockets.wrap(sock, context, host)
            wrapped.settimeout(remaining(deadline))
            wrapped.do_handshake()
            wrapped.settimeout(remaining(deadline))
        except ssl.SSLCertVerificationError:
            shortage = _shortage()
            self.discard(current)
            if shortage is None:
                raise
        except BaseException:  # whatever it was: no descriptor may stay behind; raised again
            self.discard(current)
            raise
        else:
            return current
        # Outside of the clause: a certificate that nobody could look at must not appear as the reason.
        raise shortage


def _shortage() -> OSError | None:
    """Say so if there is no descriptor to be had now.

    OpenSSL passes over files of the system's certificates that it cannot open, and then every server is a stranger.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return OSError(error.errno, error.strerror)
    return None


def remaining(deadline: float) -> float:
    """Seconds until ``deadline``; raises when there are none left, since 0 would mean "do not block" to a socket."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out while connecting")
    return seconds
