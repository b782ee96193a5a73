""":class:`AMQPLink` and :class:`VirtualLink`: one connection with one channel, and how to wait for it.

Whatever the libraries below raise becomes a :class:`ConnectionLost`, but for what says that a channel was ended, which
the consumer has to know.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from amqp import spec
from amqp.exceptions import ChannelError
from kombu.connection import Connection

from bgresults.broker_urls import BrokerAddress
from bgresults.consumers.base import ConnectionLost, WakeupSource
from bgresults.consumers.rpc.failures import connection_lost
from bgresults.consumers.rpc.frames import FrameReader
from bgresults.consumers.rpc.messages import keep_compressed, tolerant
from bgresults.consumers.rpc.transport import connected
from bgresults.consumers.rpc.virtual import close_inherited, close_poller, connection_settings
from bgresults.consumers.sockets import SocketOpener
from bgresults.polling import wait_readable

__all__ = ["AMQPLink", "ChannelClosed", "Link", "VirtualLink"]

# kombu has no types of its own.
_Connection: Any = Connection
# Seconds that a polite farewell may take.
_FAREWELL = 1.0
# How often a transport of kombu is asked that cannot be waited for together with a wake-up.
_TICK = 0.02
_PER_TURN = 500


class ChannelClosed(Exception):
    """The broker closed the channel because of something that was asked of it. A new one is open, without consumers.

    Attributes:
        code: as in HTTP: 403, 404, 405, 406.
    """

    def __init__(self, error: ChannelError) -> None:
        super().__init__(str(error.reply_text or error))
        self.code = error.code


class Link(Protocol):
    """What the consumer needs of a connection."""

    channel: Any
    #: Whether one acknowledgement can stand for all that came before.
    acknowledges_many: bool
    #: Whether a queue can be found to be gone.
    misses_queues: bool
    #: Whether more may be there than the next wait can see.
    unread: bool

    def receive(self, timeout: float) -> None:
        """Wait until something arrives, a wake-up, or ``timeout`` seconds; have the channel's callbacks called."""

    def asking(self) -> contextlib.AbstractContextManager[None]:
        """Around commands: one time limit for all of them together; their errors come out translated."""
        ...

    def sending(self) -> contextlib.AbstractContextManager[None]:
        """Around commands that are not answered."""
        ...

    def when_cancelled(self, tell: Callable[[], object]) -> None:
        """Call this when the broker ends one of the consumers that there are now, while the connection is read."""

    def cancel_consumer(self, tag: str) -> None:
        """End a consumer whose queue is about to be deleted, without waiting for the answer. Inside ``asking()``."""

    def check(self, now: float) -> float:
        """Look after the link; return the seconds until the next look."""
        ...

    def close(self) -> None:
        """Close it politely. Idempotent; never raises."""

    def defuse(self) -> None:
        """In a forked child, after the sockets were closed as descriptors."""


class AMQPLink:
    """AMQP, through py-amqp. Made by a connect attempt; thrown away when the connection is lost.

    Args:
        address: of the broker.
        opener: makes the socket.
        seconds: what connecting may take.
        proven: see :func:`connection_lost`.
        wakeup: ends a wait early.

    Raises:
        ConnectionLost: there is no connection to be had; nothing stays open then.
    """

    acknowledges_many = True
    misses_queues = True

    def __init__(
        self,
        address: BrokerAddress,
        opener: SocketOpener,
        seconds: float,
        *,
        proven: bool,
        wakeup: WakeupSource | None,
    ) -> None:
        self._address = address.text
        self._read_timeout = address.options.read_timeout
        self._opener = opener
        self._wakeup = wakeup
        self.proven = proven
        self.unread = False
        self._broken = False
        deadline = time.monotonic() + seconds
        try:
            self._connection = connected(
                address, lambda deadline: opener.open(address.host, address.port, deadline), deadline
            )
            self._transport = self._connection.transport
            self.socket = self._transport.sock
            self.channel = self._connection.channel()
            # Bodies stay the bytes that they are: not all of them are text.
            self.channel.auto_decode = False
            keep_compressed(self.channel)
            self._connection.on_inbound_frame = tolerant(self._connection.on_inbound_frame)
            # Looked up at use: gevent replaces it.
            self._selector = selectors.DefaultSelector()
        except Exception as error:
            # py-amqp may have closed it, or not.
            opener.sockets.close_all()
            raise self._lost(error) from error
        self._reader = FrameReader(self._connection)
        self._selector.register(self.socket, selectors.EVENT_READ)
        if wakeup is not None:
            self._selector.register(wakeup, selectors.EVENT_READ)

    @property
    def heartbeat(self) -> float:
        """Seconds, as agreed upon with the broker; 0 for none."""
        return float(self._connection.heartbeat or 0)

    def receive(self, timeout: float) -> None:
        wakeup = self._wakeup
        if self.unread or (wakeup is not None and wakeup.fall_asleep()):
            timeout = 0.0
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if wakeup is not None:
            wakeup.get_up(readable=wakeup in ready)
        if not self.unread and self.socket not in ready:
            return
        # A sign of life, also if it is not a whole frame: py-amqp counts those only.
        self._connection.bytes_recv += 1
        # Until proven otherwise: something may be raised in the middle.
        self.unread = True
        # The broker may say something that py-amqp answers by itself, and waits for what comes back.
        self._transport.deadline = time.monotonic() + self._read_timeout
        try:
            self.unread = self._reader.read()
        except Exception as error:
            raise self._translated(error) from error

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        # While it waits for answers, more may be read than is looked at.
        self.unread = True
        with self.sending():
            yield

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        self._transport.deadline = time.monotonic() + self._read_timeout
        try:
            yield
        except Exception as error:
            raise self._translated(error) from error

    def when_cancelled(self, tell: Callable[[], object]) -> None:
        # It would be raised otherwise: also out of a wait for an answer, which would come to somebody else then.
        for tag in self.channel.callbacks:
            self.channel.cancel_callbacks[tag] = lambda _tag: tell()

    def cancel_consumer(self, tag: str) -> None:
        # To be answered, unlike with nowait: py-amqp forgets the consumer's callbacks when that comes.
        self.channel.send_method(spec.Basic.Cancel, "sb", (tag, False))

    def check(self, now: float) -> float:
        if not self.heartbeat:
            return 60.0
        with self.sending():
            self._connection.heartbeat_tick()
        return self.heartbeat / 4

    def close(self) -> None:
        try:
            self._transport.deadline = time.monotonic() + _FAREWELL
            # Nobody would answer on a broken one, and nothing else happens in this thread meanwhile.
            if not self._broken and self.socket.fileno() >= 0:
                self._connection.close()
        except Exception:  # noqa: BLE001 - closing a broken connection may fail in as many ways as using it
            pass
        self._selector.close()
        self._opener.discard(self.socket)

    def defuse(self) -> None:
        # An epoll is shared with the parent, registrations and all: close our descriptor of it, unregister nothing.
        self._selector.close()

    def _translated(self, error: Exception) -> ChannelClosed | ConnectionLost:
        if isinstance(error, ChannelError):
            return ChannelClosed(error)
        self._broken = True
        return self._lost(error)

    def _lost(self, error: BaseException) -> ConnectionLost:
        return connection_lost(error, self._address, proven=self.proven)


class VirtualLink:
    """Any other transport of kombu: in memory, over Redis. It cannot be waited for, so it is asked in short intervals.

    Raises:
        ConnectionLost: there is no connection to be had.
    """

    acknowledges_many = False
    # A queue there is often no more than the messages in it.
    misses_queues = False

    def __init__(self, address: BrokerAddress, seconds: float, *, wakeup: WakeupSource | None) -> None:
        self._address = address.text
        self._wakeup = wakeup
        self.unread = False
        self._transport: Any = None
        self._connection: Any = None
        self._client = _Connection(**connection_settings(address, seconds))
        try:
            self._transport = self._client.transport
            self._connection = self._transport.establish_connection()
            self.channel = self._transport.create_channel(self._connection)
            keep_compressed(self.channel)
        except Exception as error:
            self.close()
            raise connection_lost(error, self._address, proven=True) from error

    def receive(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            if self._wakeup is not None and wait_readable(self._wakeup, 0.0):
                self._wakeup.clear()
                timeout = 0.0
            remaining = deadline - time.monotonic()
            if self._receive_one(min(_TICK, remaining) if timeout > 0 else 0.0):
                break
            if timeout <= 0 or remaining <= 0:
                self.unread = False
                return
        for _ in range(_PER_TURN):
            if not self._receive_one(0.0):
                self.unread = False
                return
        self.unread = True

    def _receive_one(self, timeout: float) -> bool:
        with self.asking():
            try:
                # 0 would mean "for ever" to some.
                self._transport.drain_events(self._connection, timeout=max(timeout, 0.001))
            except TimeoutError:
                return False
        return True

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise connection_lost(error, self._address, proven=True) from error

    sending = asking

    def when_cancelled(self, tell: Callable[[], object]) -> None:
        """Nobody ends a consumer there."""

    def cancel_consumer(self, tag: str) -> None:
        """Nobody is refused here: a queue can be consumed by any number."""

    def check(self, now: float) -> float:
        return 60.0

    def close(self) -> None:
        try:
            if self._connection is not None:
                self._transport.close_connection(self._connection)
        except Exception:  # noqa: BLE001 - closing a broken connection may fail in as many ways as using it
            pass
        close_poller(self._transport)

    def defuse(self) -> None:
        close_inherited(self._transport)
