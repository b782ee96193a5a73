""":class:`MemoryConsumer`: the consumer of a :class:`~bgresults.testing.memory.Memory`.

Everything that is above a consumer is real: the drain thread, its states and its back-off, deadlines, callbacks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from bgresults.consumers.base import BaseResultConsumer, ConnectionLost, DeclaredCallback
from bgresults.errors import ResultDecodeError
from bgresults.meta import READY_STATES
from bgresults.testing.memory import Memory, Stored
from bgresults.wakeup import Wakeup

__all__ = ["MemoryConsumer"]


class MemoryConsumer(BaseResultConsumer):
    """See :class:`~bgresults.consumers.base.BaseResultConsumer`.

    Args:
        memory: in the place of a server.
        url: of the server that it stands for; nobody connects there.
        binding: of the consumer that it stands for.
        reply_queue: the name of the one queue for all replies, where there is one.
        wakeup: that of the drain thread; None for one of its own.
        settings: as for every consumer.
    """

    def __init__(
        self,
        memory: Memory,
        url: str,
        *,
        binding: str | None = None,
        reply_queue: str | None = None,
        wakeup: Wakeup | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(url, wakeup=wakeup, **settings)
        self.binding = binding
        self._memory = memory
        self._reply_queue = reply_queue
        # Without a drain thread, one of its own, from the first connection on.
        self._own_wakeup: Wakeup | None = None
        self._waking = wakeup
        self._consumed: dict[str, None] = {}
        # Appended to by any thread.
        self._inbox: deque[tuple[str, Stored]] = deque()
        self._questions: list[DeclaredCallback] = []
        self._connected = False
        self._synced = False

    # -- Reader --------------------------------------------------------------------------------------------------------

    def deliver(self, task_id: str, stored: Stored) -> None:
        """A state has come. Any thread."""
        self._inbox.append((task_id, stored))
        self._wake()

    def lose(self) -> None:
        """The connection is gone. Any thread."""
        self._connected = False
        self._wake()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, initial_task_id: str | None, no_ack: bool = True, **kwargs: Any) -> None:
        if initial_task_id is not None:
            self._consumed[initial_task_id] = None
        self.reconnect()

    def stop(self) -> None:
        self._memory.leave(self)
        self._connected = self._started = False
        self._answer()
        if self._own_wakeup is not None:
            self._own_wakeup.close()
            self._waking = self._own_wakeup = None

    def reconnect(self) -> None:
        self._memory.leave(self)
        self._inbox.clear()
        if self._waking is None:
            self._waking = self._own_wakeup = Wakeup()
        self._started = True
        self._synced = False
        # Before it is let in: from then on another thread may say that the connection is gone.
        self._connected = True
        try:
            self._memory.connect(self)
        except ConnectionLost:
            self._connected = False
            raise
        self._memory.subscribe(self, list(self._consumed))

    def on_after_fork(self) -> None:
        self._connected = self._started = False
        self._inbox.clear()
        self._consumed.clear()
        self._questions.clear()
        if self._own_wakeup is not None:
            self._own_wakeup.close_inherited()
            self._waking = self._own_wakeup = None

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def synced(self) -> bool:
        return self._synced

    @property
    def subscribed(self) -> int:
        return len(self._consumed)

    @property
    def reply_to(self) -> str | None:
        return self._reply_queue if self.binding == "process" else None

    def consumed_ids(self) -> list[str]:
        return list(self._consumed)

    # -- ids -----------------------------------------------------------------------------------------------------------

    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        fresh = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in self._consumed]
        self._consumed.update(dict.fromkeys(fresh))
        if not self._started:
            self.reconnect()
        else:
            self._memory.subscribe(self, fresh)

    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        known = [task_id for task_id in task_ids if task_id in self._consumed]
        for task_id in known:
            del self._consumed[task_id]
        self._memory.unsubscribe(self, known)

    def catch_up(self, then: DeclaredCallback) -> None:
        self._questions.append(then)
        if not self._connected:
            self._answer()

    # -- states --------------------------------------------------------------------------------------------------------

    def _drain(self, timeout: float | None) -> int:
        nothing_to_do = self._connected and self._synced and not self._inbox and not self._questions
        waking = self._waking
        if nothing_to_do and waking is not None and waking.wait(math.inf if timeout is None else timeout):
            waking.clear()
        if not self._connected:
            self._answer()
            raise ConnectionLost(self._memory.outage or "the connection was cut")
        # What was subscribed to before anybody is answered has been delivered: that is one step there.
        count = 0
        if self._inbox and self.before_states is not None:
            self.before_states()
        for _ in range(len(self._inbox)):
            # What a callback has delivered is for the next turn; one that disconnects may have emptied it.
            if not self._inbox:
                break
            count += self._pass_on(*self._inbox.popleft())
        self._synced = True
        self._answer()
        return count

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        found = [result] if isinstance(result, str) or not isinstance(result, Iterable) else list(result)
        for each in found:
            task_id = each if isinstance(each, str) else str(each.id)
            stored = self._memory.stored(task_id)
            if stored is not None:
                self._consumed.setdefault(task_id)
                self._pass_on(task_id, Stored(stored.payload, stored.content_type, read=True))

    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        task_id = meta["task_id"]
        if meta["status"] in READY_STATES:
            self.cancel_for(task_id)
        if self._on_state is not None:
            self._on_state(task_id, dict(meta))

    def _pass_on(self, task_id: str, stored: Stored) -> int:
        if task_id not in self._consumed:
            # It was cancelled, or has ended, since this was delivered.
            return 0
        try:
            meta = self._decoder.decode(stored.payload, content_type=stored.content_type)
        except ResultDecodeError as error:
            self.counters.undecodable += 1
            self.cancel_for(task_id)
            if self._on_error is not None:
                self._on_error(task_id, error)
            return 1
        if stored.read and meta["status"] in READY_STATES:
            self.counters.recovered += 1
        self.on_state_change(meta, stored.payload)
        return 1

    def _wake(self) -> None:
        waking = self._waking
        if waking is not None:
            waking.wake()

    def _answer(self) -> None:
        questions, self._questions = self._questions, []
        for then in questions:
            then(None)
