""":class:`Memory`: what a result backend holds, and tells, without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bgresults import forking
from bgresults.consumers.base import ConnectionLost

__all__ = ["Memory", "Reader", "Stored"]


@dataclass(frozen=True)
class Stored:
    """One state of a task, as a worker wrote it.

    Attributes:
        payload: the bytes.
        content_type: what they are written in.
        read: whether it was found where it is stored, and not heard as it was published.
    """

    payload: bytes
    content_type: str
    read: bool = False


class Reader(Protocol):
    """A consumer. All of this may be called from any thread."""

    def deliver(self, task_id: str, stored: Stored) -> None:
        """A state has come."""

    def lose(self) -> None:
        """The connection is gone."""


class Memory:
    """Keeps the last state of each task, and tells whoever is subscribed to it. Any thread.

    In the order of a Redis server: a subscription and the reading of what is stored are one step here, so nothing falls
    in between. A forked child has a copy of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._states: dict[str, Stored] = {}
        self._subscribers: dict[str, set[Reader]] = {}
        self._connected: set[Reader] = set()
        self._outage: str | None = None
        #: Ids that somebody has subscribed to at some time.
        self.asked_for: set[str] = set()
        forking.register(self)

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._subscribers, self._connected = {}, set()

    # -- workers -----------------------------------------------------------------------------------------------------

    def publish(self, task_id: str, stored: Stored) -> None:
        """Keep a state, and tell it to those who are subscribed. Workers can do that during an outage as well."""
        with self._lock:
            self._states[task_id] = stored
            for reader in self._subscribers.get(task_id, ()):
                reader.deliver(task_id, stored)

    def stored(self, task_id: str) -> Stored | None:
        """The last state of a task."""
        return self._states.get(task_id)

    def forget(self, task_id: str) -> None:
        """Remove what is stored, as ``AsyncResult.forget()`` does."""
        with self._lock:
            self._states.pop(task_id, None)

    def ids(self) -> list[str]:
        """Those that something is stored for, in the order in which it was first."""
        with self._lock:
            return list(self._states)

    # -- consumers ---------------------------------------------------------------------------------------------------

    def connect(self, reader: Reader) -> None:
        """Let a consumer in.

        Raises:
            ConnectionLost: there is an outage.
        """
        with self._lock:
            if self._outage is not None:
                raise ConnectionLost(self._outage)
            self._connected.add(reader)

    def subscribe(self, reader: Reader, task_ids: Iterable[str]) -> None:
        """Tell a consumer that is connected the states of these tasks; what is stored comes first."""
        with self._lock:
            task_ids = list(task_ids)
            self.asked_for.update(task_ids)
            if reader not in self._connected:
                return
            for task_id in task_ids:
                self._subscribers.setdefault(task_id, set()).add(reader)
                found = self._states.get(task_id)
                if found is not None:
                    reader.deliver(task_id, Stored(found.payload, found.content_type, read=True))

    def unsubscribe(self, reader: Reader, task_ids: Iterable[str]) -> None:
        """No longer tell it of these."""
        with self._lock:
            for task_id in task_ids:
                readers = self._subscribers.get(task_id, set())
                readers.discard(reader)
                if not readers:
                    self._subscribers.pop(task_id, None)

    def leave(self, reader: Reader) -> None:
        """A consumer closes its connection. Idempotent."""
        with self._lock:
            self._connected.discard(reader)
            self.unsubscribe(reader, list(self._subscribers))

    def subscribed(self) -> set[str]:
        """The ids that are told to somebody now."""
        with self._lock:
            return set(self._subscribers)

    @property
    def connections(self) -> int:
        """How many consumers are let in."""
        return len(self._connected)

    # -- the network -------------------------------------------------------------------------------------------------

    @property
    def outage(self) -> str | None:
        """Why nobody is let in; None while everybody is."""
        return self._outage

    def disconnect(self, reason: str) -> None:
        """Cut all connections, and let nobody in until :meth:`reconnect`."""
        with self._lock:
            self._outage = reason
            for reader in list(self._connected):
                self.leave(reader)
                reader.lose()

    def reconnect(self) -> None:
        """End the outage."""
        with self._lock:
            self._outage = None
