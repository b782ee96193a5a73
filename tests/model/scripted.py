"""A server and consumers that do what the test says, without a network.

Two kinds, as there are: one that stores results and publishes them to whoever is subscribed, and one with a queue,
whose messages wait until they are fetched, and of which early ones are kept for a later watch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bgresults.consumers.base import BaseResultConsumer, ConnectionLost, DeclaredCallback
from bgresults.errors import ResultDecodeError
from bgresults.meta import READY_STATES
from tests.model.lockstep import Lockstep, SteppedWakeup

__all__ = [
    "GARBAGE",
    "Body",
    "Mood",
    "ScriptedConsumer",
    "ScriptedServer",
    "is_final",
]

#: A task's state as it is decoded, or what cannot be.
Body = Mapping[str, Any]
GARBAGE: Body = {}
Mood = Literal["up", "down", "refusing"]


def is_final(body: Body) -> bool:
    """Whether nothing follows it."""
    return body is GARBAGE or body["status"] in READY_STATES


class ScriptedServer:
    """What a backend holds.

    Attributes:
        mood: whether it can be connected to; ``"refusing"`` is for good, as a wrong password is.
        stored: id → the last state, where states are stored.
        queue: messages that were not fetched, where there is a queue.
        consumer: that is connected.
    """

    def __init__(self) -> None:
        self.mood: Mood = "up"
        self.stored: dict[str, Body] = {}
        self.queue: deque[tuple[str, Body]] = deque()
        self.consumer: ScriptedConsumer | None = None

    def publish(self, task_id: str, body: Body) -> None:
        """A worker reports a state."""
        self.stored[task_id] = body
        self.queue.append((task_id, body))
        if self.consumer is not None:
            self.consumer.published(task_id, body)

    def cut(self) -> None:
        """The connection is lost."""
        if self.consumer is not None:
            self.consumer.broken = "cut"

    def crash(self) -> bool:
        """The consumer's next turn meets a bug, if it is connected."""
        if self.consumer is not None:
            self.consumer.broken = "bug"
        return self.consumer is not None


class ScriptedConsumer(BaseResultConsumer):
    """Of either kind. Everything that happens in it happens in the drain thread, where it belongs.

    Args:
        server: its own.
        lockstep: where it stands.
        passing_on: called with the id and the body of a state, and with what passes it on.
        lost: called with each :class:`ConnectionLost` before it is raised.
    """

    def __init__(
        self,
        server: ScriptedServer,
        lockstep: Lockstep,
        passing_on: Callable[[str, Body, Callable[[], object]], None],
        lost: Callable[[ConnectionLost], None],
        **settings: Any,
    ) -> None:
        super().__init__("scripted://", **settings)
        self._server = server
        self._lockstep = lockstep
        self._passing_on = passing_on
        self._lost = lost
        self._pid = os.getpid()
        self._consumed: dict[str, None] = {}
        self._connected = False
        self.broken: str | None = None
        #: Whether a forked child let go of it.
        self.abandoned = False
        lockstep.stand("start")

    # -- life --------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def synced(self) -> bool:
        return self._connected

    @property
    def subscribed(self) -> int:
        return len(self._consumed)

    def consumed_ids(self) -> list[str]:
        return list(self._consumed)

    def start(self, initial_task_id: str | None, no_ack: bool = True, **kwargs: Any) -> None:
        raise AssertionError("a watcher reconnects")

    def stop(self) -> None:
        self._check_process()
        self._disconnect()

    def reconnect(self) -> None:
        self._check_process()
        self._started = True
        self._disconnect()
        self._lockstep.stand("connect")
        if self._server.mood != "up":
            self._lose(ConnectionLost(self._server.mood, permanent=self._server.mood == "refusing"))
        self._connected, self.broken = True, None
        self._server.consumer = self
        self._attach()

    def on_after_fork(self) -> None:
        assert os.getpid() != self._pid
        self.abandoned = True

    def _disconnect(self) -> None:
        self._connected = False
        if self._server.consumer is self:
            self._server.consumer = None

    def _lose(self, lost: ConnectionLost) -> None:
        self._disconnect()
        self._lost(lost)
        raise lost

    def _check_process(self) -> None:
        assert os.getpid() == self._pid, "a forked child uses the parent's consumer"

    def _attach(self) -> None:
        """There is a new connection."""

    # -- states ------------------------------------------------------------------------------------------------------

    def published(self, task_id: str, body: Body) -> None:
        """The server sends something. Test's thread."""

    def readable(self) -> bool:
        """Whether a wait would end now. Test's thread."""
        return self.broken is not None

    def _drain(self, timeout: float | None) -> int:
        self._check_process()
        if not self._connected:
            raise ConnectionLost("not connected")
        self._send()
        self._lockstep.stand("drain", timeout)
        self._check_process()
        wakeup: Any = self._wakeup
        assert isinstance(wakeup, SteppedWakeup)
        if wakeup.raised():
            wakeup.clear()
        if self.broken == "bug":
            raise RuntimeError("a bug")
        if self.broken is not None:
            self._lose(ConnectionLost("cut"))
        return self._receive()

    def _send(self) -> None:
        """Send what is due."""

    def _receive(self) -> int:
        """Pass on what has come."""
        raise NotImplementedError

    def _pass_on(self, task_id: str, body: Body) -> int:
        if task_id not in self._consumed:
            self.counters.late += 1
            return 0
        if body is GARBAGE:
            self.counters.undecodable += 1
            self.cancel_for(task_id)
            assert self._on_error is not None
            on_error, error = self._on_error, ResultDecodeError("garbage")
            self._passing_on(task_id, body, lambda: on_error(task_id, error))
        else:
            self._passing_on(task_id, body, lambda: self.on_state_change({**body}, None))
        return 1

    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        # In this order in both of the real ones.
        assert self._on_state is not None
        self._on_state(meta["task_id"], dict(meta))
        if is_final(meta):
            self.cancel_for(meta["task_id"])

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        raise AssertionError("not for watchers")

    def declare_for(self, task_id: str, then: DeclaredCallback) -> None:
        self._check_process()
        then(None)
