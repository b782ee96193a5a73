""":class:`Links`: the two connections of a consumer, and the one wait for both and for the wake-up."""

from __future__ import annotations

import selectors
import time

from bgresults.consumers.base import ConnectionLost, WakeupSource
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.failures import connection_lost
from bgresults.consumers.redis.link import Link

__all__ = ["Links"]


class Links:
    """Connected as long as it exists: made by a connect attempt, thrown away when either connection is lost.

    Args:
        connector: opens the connections.
        seconds: what both may take together, without the time of a credential provider.
        logged_in: whether these credentials have worked before.
        permitted: whether subscribing and reading have worked before; see ``connection_lost()`` for both.
        wakeup: ends a wait early.
        rehearsal: a key, and channel, to try everything with that will be asked for; None if that is not needed. A
            server that answers a PING may still refuse the rest.

    Raises:
        ConnectionLost: there is no connection to be had; nothing stays open then.
    """

    def __init__(
        self,
        connector: Connector,
        seconds: float,
        *,
        logged_in: bool,
        permitted: bool,
        wakeup: WakeupSource | None,
        rehearsal: bytes | None = None,
    ) -> None:
        self._wakeup = wakeup
        connector.ask_for_credentials()
        deadline = time.monotonic() + seconds
        connector.locate(deadline)
        self._connector = connector
        self.subscriber = Link(connector, deadline, subscribes=True, proven=logged_in)
        try:
            self.reader = Link(connector, deadline, subscribes=False, proven=logged_in)
        except ConnectionLost:
            self.subscriber.close()
            raise
        self.permitted = permitted
        try:
            if rehearsal is not None:
                self._rehearse(rehearsal, deadline)
            self._selector = _new_selector(connector.address.text)
        except ConnectionLost:
            self.subscriber.close()
            self.reader.close()
            raise
        for source in (self.subscriber, self.reader, wakeup):
            if source is not None:
                self._selector.register(source, selectors.EVENT_READ)

    @property
    def permitted(self) -> bool:
        """Whether subscribing and reading have worked."""
        return self.reader.proven

    @permitted.setter
    def permitted(self, value: bool) -> None:
        self.subscriber.proven = self.reader.proven = value

    @property
    def unread(self) -> bool:
        """Whether more may have arrived on either connection than :meth:`wait` can see."""
        return self.subscriber.unread or self.reader.unread

    def wait(self, timeout: float) -> set[object]:
        """Wait until a connection is readable, a wake-up, or ``timeout`` seconds; return the readable connections."""
        wakeup = self._wakeup
        if wakeup is not None and wakeup.fall_asleep():
            timeout = 0.0
        ready: set[object] = {key.fileobj for key, _ in self._selector.select(timeout)}
        if wakeup is not None:
            wakeup.get_up(readable=wakeup in ready)
        return ready

    def check(self, now: float) -> float:
        """Look after both connections; return the seconds until the next look.

        Raises:
            ConnectionLost: the server has been silent for too long, or is no longer the one to be connected to.
        """
        return min(
            self.subscriber.check(now),
            self.reader.check(now),
            self._connector.check_location(now, self.subscriber.socket),
        )

    def close(self) -> None:
        """Close both, politely. Never raises."""
        self._selector.close()
        self.subscriber.close()
        self.reader.close()

    def defuse(self) -> None:
        """In a forked child, after the sockets were closed as descriptors: forget the parent's connections."""
        self.subscriber.defuse()
        self.reader.defuse()
        # An epoll is shared with the parent, registrations and all: close our descriptor of it, unregister nothing.
        self._selector.close()

    def _rehearse(self, key: bytes, deadline: float) -> None:
        """Do once what the server may refuse, and leave nothing behind."""
        for link, command in ((self.subscriber, "SUBSCRIBE"), (self.subscriber, "UNSUBSCRIBE"), (self.reader, "MGET")):
            link.send(command, key, answers=1)
            link.answer(deadline)
        self.permitted = True


def _new_selector(address: str) -> selectors.BaseSelector:
    try:
        # Looked up at use: gevent replaces it.
        return selectors.DefaultSelector()
    except OSError as error:
        raise connection_lost(error, address, proven=True) from error
