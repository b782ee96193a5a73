"""The two kinds of scripted consumers: results that are stored and published, and replies in a queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from tests.model.scripted import Body, ScriptedConsumer, is_final

__all__ = ["QueueConsumer", "StoreConsumer"]


class StoreConsumer(ScriptedConsumer):
    """Subscribe, have it confirmed, read what is stored; a turn each."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._asked: list[str] = []
        self._subscribed: set[str] = set()
        self._reads: list[str] = []
        self._resync: set[str] = set()
        self._synced = False
        self._inbox: deque[tuple[str, Body]] = deque()
        super().__init__(*arguments, **settings)

    @property
    def synced(self) -> bool:
        return self._connected and self._synced

    def _attach(self) -> None:
        self._asked = list(self._consumed)
        self._resync = set(self._asked)
        self._synced = not self._resync
        self._subscribed.clear()
        self._reads.clear()
        self._inbox.clear()

    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        self._check_process()
        for task_id in task_ids:
            if task_id not in self._consumed:
                self._consumed[task_id] = None
                self._asked.append(task_id)
            elif task_id not in self._asked:
                self._reads.append(task_id)

    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        self._check_process()
        for task_id in task_ids:
            if self._consumed.pop(task_id, self) is None:
                self._asked = [asked for asked in self._asked if asked != task_id]
                self._reads = [read for read in self._reads if read != task_id]
                self._resync.discard(task_id)
                self._subscribed.discard(task_id)

    def published(self, task_id: str, body: Body) -> None:
        if task_id in self._subscribed:
            self._inbox.append((task_id, body))

    def readable(self) -> bool:
        return bool(self.broken or self._inbox or self._reads or not (self._synced or self._resync))

    def _send(self) -> None:
        self._subscribed.update(self._asked)
        self._reads.extend(self._asked)
        self._asked.clear()

    def _receive(self) -> int:
        messages, self._inbox = self._inbox, deque()
        reads, self._reads = self._reads, []
        count = sum(self._pass_on(task_id, body) for task_id, body in messages)
        for task_id in reads:
            body = self._server.stored.get(task_id)
            self._resync.discard(task_id)
            if body is not None and task_id in self._consumed:
                count += self._pass_on(task_id, body)
        if not self._resync:
            self._synced = True
        return count


class QueueConsumer(ScriptedConsumer):
    """One queue for all: nothing to tell the server, and what comes too early is kept."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._kept: dict[str, list[Body]] = {}
        self._claimed: deque[str] = deque()
        super().__init__(*arguments, **settings)

    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        self._check_process()
        for task_id in task_ids:
            if task_id not in self._consumed:
                self._consumed[task_id] = None
                if task_id in self._kept:
                    self._claimed.append(task_id)
        if not self._connected:
            self._hand_out()

    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        self._check_process()
        for task_id in task_ids:
            self._consumed.pop(task_id, None)

    def needs_waking(self, task_ids: Iterable[str]) -> bool:
        return any(task_id in self._kept for task_id in task_ids)

    def kept(self, task_id: str) -> bool:
        """Whether the end of a task is here."""
        return any(map(is_final, self._kept.get(task_id, ())))

    def forget(self, task_id: str) -> None:
        """There was no room for what is kept. Test's thread."""
        self._kept.pop(task_id, None)

    def readable(self) -> bool:
        return bool(self.broken or self._claimed or self._server.queue)

    def _receive(self) -> int:
        queue = self._server.queue
        if (queue or self._claimed) and self.before_states is not None:
            self.before_states()
        count = self._hand_out()
        for task_id, body in [queue.popleft() for _ in range(len(queue))]:
            if task_id not in self._consumed:
                self._kept.setdefault(task_id, []).append(body)
            else:
                if is_final(body):
                    self._kept[task_id] = [body]
                count += self._pass_on(task_id, body)
        return count

    def _hand_out(self) -> int:
        count = 0
        while self._claimed:
            task_id = self._claimed.popleft()
            bodies = self._kept.pop(task_id, []) if task_id in self._consumed else []
            if bodies and is_final(bodies[-1]):
                self._kept[task_id] = bodies[-1:]
            for body in bodies:
                if task_id in self._consumed:
                    count += self._pass_on(task_id, body)
        return count
