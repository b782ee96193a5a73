"""py-amqp's connection over a socket that we open, with one time limit for everything that is waited for.

py-amqp speaks the protocol. By itself it would wait for ever for the answer to a command, and give each read of a
handshake a time limit of its own.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import amqp.transport
from amqp.exceptions import UnexpectedFrame
from kombu.connection import Connection
from kombu.transport import pyamqp

from bgresults.broker_urls import BrokerAddress
from bgresults.consumers.sockets import remaining
from bgresults.polling import wait_readable, wait_writable

__all__ = ["LARGEST_FRAME", "DeadlineTransport", "connected"]

# kombu has no types of its own.
_KombuConnection: Any = Connection
_AMQPConnection: Any = pyamqp.Connection
_AMQPTransport: Any = pyamqp.Transport
_GREETING: bytes = amqp.transport.AMQP_PROTOCOL_HEADER
#: Bytes of a frame. py-amqp would agree to what the broker wants, make room for it, and collect what is announced.
LARGEST_FRAME: Final = 1024 * 1024


class DeadlineTransport(amqp.transport.TCPTransport):  # type: ignore[misc]
    """Reads and writes by :attr:`deadline`, on the clock of ``time.monotonic``. TLS, if any, is in the socket.

    That one never blocks by itself: a time limit of the socket's own would be set anew for each message, and every
    system call costs a wait for the interpreter's lock where many threads run.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._opened = sock
        self.deadline = deadline
        # An address is asked for, and not used: the socket is there.
        super().__init__("localhost:0")

    def _connect(self, host: str, port: int, timeout: float | None) -> None:
        self.sock = self._opened

    def _init_socket(self, socket_settings: Any, read_timeout: Any, write_timeout: Any) -> None:
        # The opener has set what a socket of ours needs.
        self._setup_transport()
        self._quick_recv = self._receive
        self._write = self._send
        self.sock.setblocking(False)
        self._write(_GREETING)

    def _read(self, n: int, initial: bool = False, _errnos: Any = (errno.EAGAIN, errno.EINTR)) -> bytes:
        if n > LARGEST_FRAME:
            raise UnexpectedFrame(f"a frame of {n} bytes is announced, more than was agreed upon")
        read: bytes = super()._read(n, initial, _errnos)
        return read

    def _receive(self, count: int) -> bytes:
        while True:
            # Of a broker that never pauses as well, for which nobody has to wait.
            remaining(self.deadline)
            try:
                received: bytes = self.sock.recv(count)
                return received
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(wait_readable)
            except ssl.SSLWantWriteError:
                self._wait(wait_writable)

    def _send(self, s: bytes | memoryview) -> None:
        unsent = memoryview(s)
        while unsent:
            try:
                unsent = unsent[self.sock.send(unsent) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(wait_writable)
            except ssl.SSLWantReadError:
                self._wait(wait_readable)

    def _wait(self, until: Callable[[socket.socket, float], bool]) -> None:
        if not until(self.sock, remaining(self.deadline)):
            raise TimeoutError("no answer in time")


class _Connection(_AMQPConnection):  # type: ignore[misc]
    """Uses the transport that it is given."""

    def __init__(self, *args: Any, opened: DeadlineTransport, **kwargs: Any) -> None:
        self._opened = opened
        super().__init__(*args, **kwargs)

    def _on_tune(self, channel_max: int, frame_max: int, server_heartbeat: int, argsig: str = "BlB") -> None:
        # 0 means any size.
        super()._on_tune(channel_max, min(frame_max or LARGEST_FRAME, LARGEST_FRAME), server_heartbeat, argsig)

    def Transport(self, *_: Any, **__: Any) -> DeadlineTransport:
        return self._opened


def connected(address: BrokerAddress, open_socket: Callable[[float], socket.socket], deadline: float) -> Any:
    """Return a connection of py-amqp that is logged in, by ``deadline``.

    Raises:
        OSError, amqp.AMQPError: as py-amqp does. Whoever opened the socket closes it then.
    """
    options = address.options

    class Transport(_AMQPTransport):  # type: ignore[misc]
        """kombu asks its transport for connections."""

        @staticmethod
        def Connection(**settings: Any) -> _Connection:
            return _Connection(opened=DeadlineTransport(open_socket(deadline), deadline), **settings)

    client = _KombuConnection(
        hostname=address.host,
        port=address.port,
        userid=options.username or "guest",
        password=options.password or "guest",
        virtual_host=address.virtual_host,
        login_method=options.login_method,
        heartbeat=options.heartbeat,
        connect_timeout=None,
        transport=Transport,
        transport_options={"client_properties": {"connection_name": "bgresults"}},
    )
    connection = client.transport.establish_connection()
    # Asked for by kombu's own objects, such as a Consumer that leaves its context.
    connection.client = client
    return connection
