""":class:`Subscriptions`: which ids the server is asked to report, and how far each request has come. Pure data.

An id is *queued*, then *sent*, then *confirmed*; the stored value is read only after the confirmation, so that a result
is either in the stored value or in a message that follows. Leaving is lazy: an id that is wanted again before its
UNSUBSCRIBE went out never leaves, and many that end together leave in one command.

The server answers in order. A command for *n* channels is one batch with *n* confirmations, so a batch is confirmed
when the last of its confirmations came, whatever happened to its ids in the meantime.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from bgresults.consumers.redis.id_queue import IdQueue

__all__ = ["Batch", "Subscriptions"]

_ABSENT = object()

# The server executes a command without a pause for its other clients: 10^5 channels in one would block it for 100 ms.
BATCH_SIZE = 500
# Enough to keep the connection busy while the first is being confirmed.
IN_FLIGHT = 2
# How long an id that ended may stay subscribed, so that its UNSUBSCRIBE travels together with others.
LINGER = 0.02


class Batch:
    """One SUBSCRIBE or UNSUBSCRIBE on its way."""

    __slots__ = ("ids", "resync", "subscribing", "unconfirmed")

    def __init__(self, ids: list[str], *, subscribing: bool, resync: bool = False) -> None:
        self.ids = ids
        self.subscribing = subscribing
        self.resync = resync
        self.unconfirmed = len(ids)


class Subscriptions:
    """The drain thread's own; not thread-safe."""

    def __init__(self) -> None:
        self._consumed: dict[str, object] = {}
        self._queued = IdQueue()
        # What was wanted when the connection was made, and goes first: its results may be waiting.
        self._resync = IdQueue()
        # Not unsubscribed yet; the flag says whether it leaves because its result came.
        self._leaving = IdQueue()
        self._leaving_since: float | None = None
        # The UNSUBSCRIBE is on its way, same flag.
        self._left: dict[str, bool] = {}
        self._in_flight: deque[Batch] = deque()

    def __len__(self) -> int:
        return len(self._consumed)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._consumed

    def ids(self) -> list[str]:
        """The ids that are wanted."""
        return list(self._consumed)

    # -- wishes ------------------------------------------------------------------------------------------------------

    def consume(self, task_ids: Iterable[str]) -> list[str]:
        """Want these ids.

        Returns those whose stored value can be read now, since their subscription is alive already: an id that was
        leaving, and one that is wanted once more. What was read for the earlier wish may be older than the value.
        """
        alive = []
        for task_id in task_ids:
            if task_id in self._consumed:
                if task_id not in self._queued and task_id not in self._resync:
                    alive.append(task_id)
                continue
            self._consumed[task_id] = None
            if self._leaving.discard(task_id):
                alive.append(task_id)
            else:
                self._queued.add(task_id)
        return alive

    def cancel(self, task_ids: Iterable[str]) -> None:
        """Do not want these ids any more; unknown ones are ignored."""
        for task_id in task_ids:
            self._leave(task_id, False)

    def resolved(self, task_id: str) -> None:
        """The result of this id came: it is not wanted any more."""
        self._leave(task_id, True)

    def resolved_lately(self, task_id: str) -> bool:
        """Whether a result came for this id, and the server has not confirmed yet that it will report it no more."""
        return self._leaving.flag(task_id) or self._left.get(task_id, False)

    def resyncing(self) -> bool:
        """Whether something that was wanted when the connection was made is not confirmed yet."""
        return bool(self._resync) or any(batch.resync for batch in self._in_flight)

    # -- commands ----------------------------------------------------------------------------------------------------

    def next_subscribe(self) -> Batch | None:
        """The next SUBSCRIBE to send, if there is one and few enough are on their way."""
        if not self._resync and not self._queued:
            return None
        if sum(batch.subscribing for batch in self._in_flight) >= IN_FLIGHT:
            return None
        resync = bool(self._resync)
        queue = self._resync if resync else self._queued
        batch = Batch([task_id for task_id, _ in queue.pop(BATCH_SIZE)], subscribing=True, resync=resync)
        self._in_flight.append(batch)
        return batch

    def next_unsubscribe(self, now: float, *, together: bool) -> Batch | None:
        """The next UNSUBSCRIBE, if it can travel ``together`` with a SUBSCRIBE, is large, or is old enough."""
        if not self._leaving:
            self._leaving_since = None
            return None
        if self._leaving_since is None:
            self._leaving_since = now
        if not together and len(self._leaving) < BATCH_SIZE and now - self._leaving_since < LINGER:
            return None
        taken = self._leaving.pop(BATCH_SIZE)
        self._left.update(taken)
        batch = Batch([task_id for task_id, _ in taken], subscribing=False)
        self._in_flight.append(batch)
        return batch

    def next_due(self) -> float | None:
        """When the ids that are leaving have lingered long enough."""
        return None if self._leaving_since is None else self._leaving_since + LINGER

    def confirmed(self, count: int = 1) -> list[Batch]:
        """``count`` more confirmations have come; returns the batches that are complete with them."""
        complete = []
        while count and self._in_flight:
            batch = self._in_flight[0]
            step = min(count, batch.unconfirmed)
            batch.unconfirmed -= step
            count -= step
            if batch.unconfirmed:
                break
            complete.append(self._in_flight.popleft())
            if not batch.subscribing:
                for task_id in batch.ids:
                    self._left.pop(task_id, None)
        return complete

    def restart(self) -> None:
        """The connection is new and knows nothing: queue everything that is wanted."""
        self._resync = IdQueue(self._consumed)
        self._queued = IdQueue()
        self._leaving = IdQueue()
        self._leaving_since = None
        self._left = {}
        self._in_flight.clear()

    def _leave(self, task_id: str, resolved: bool) -> None:
        if self._consumed.pop(task_id, _ABSENT) is _ABSENT:
            return
        if not (self._queued.discard(task_id) or self._resync.discard(task_id)):
            self._leaving.add(task_id, resolved)
