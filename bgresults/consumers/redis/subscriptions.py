""":class:`Subscriptions`: which ids the server is asked to report, and how far each request has come. Pure data.

An id is *queued*, then *sent*, then *confirmed*; the stored value is read only after the confirmation, so that a result
is either in the stored value or in a message that follows. Leaving is lazy: an id that is wanted again before its
UNSUBSCRIBE went out never leaves, and many that end together leave in one command.

The server answers in order. A command for *n* channels is one batch with *n* confirmations, so a batch is confirmed
when the last of its confirmations came, whatever happened to its ids in the meantime.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, KeysView

from bgresults.consumers.redis.id_queue import IdQueue

__all__ = ["Batch", "Subscriptions"]

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
        # Whether a SUBSCRIBE was sent for it; until then it is in one of the next two.
        self._consumed: dict[str, bool] = {}
        #: The ids that are wanted.
        self.wanted: KeysView[str] = self._consumed.keys()
        self._queued = IdQueue()
        # What was wanted when the connection was made, and goes first: its results may be waiting.
        self._resync = IdQueue()
        # Not wanted any more, and not unsubscribed yet.
        self._leaving = IdQueue()
        self._leaving_since: float | None = None
        # Their result came; the server may report it once more until it has confirmed that they are unsubscribed.
        self._ended: set[str] = set()
        self._in_flight: deque[Batch] = deque()

    def __len__(self) -> int:
        return len(self._consumed)

    # -- wishes ------------------------------------------------------------------------------------------------------

    def consume(self, task_ids: Iterable[str]) -> list[str]:
        """Want these ids.

        Returns those whose stored value can be read now, since their subscription is alive already: an id that was
        leaving, and one that is wanted once more. What was read for the earlier wish may be older than the value.
        """
        consumed = self._consumed
        alive = []
        fresh = []
        # First of all looked at, all of them: if what was given is no collection of ids, nothing has changed.
        for task_id in dict.fromkeys(task_ids):
            if task_id in consumed:
                if consumed[task_id]:
                    alive.append(task_id)
            elif self._leaving.discard(task_id):
                self._ended.discard(task_id)
                consumed[task_id] = True
                alive.append(task_id)
            else:
                fresh.append(task_id)
        self._queued.extend(fresh)
        consumed.update(dict.fromkeys(fresh, False))
        return alive

    def cancel(self, task_ids: Iterable[str]) -> None:
        """Do not want these ids any more; unknown ones are ignored."""
        for task_id in task_ids:
            self._leave(task_id)

    def resolved(self, task_id: str) -> None:
        """The result of this id came: it is not wanted any more."""
        if self._leave(task_id):
            self._ended.add(task_id)

    def resolved_lately(self, task_id: str) -> bool:
        """Whether a result came for this id, and the server has not confirmed yet that it will report it no more."""
        return task_id in self._ended

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
        for queue in (self._resync, self._queued):
            task_ids: list[str] = []
            while queue and not task_ids:
                # One that is not wanted was about to be taken out of the queue when a signal handler raised.
                task_ids = [task_id for task_id in queue.pop(BATCH_SIZE) if task_id in self._consumed]
            if task_ids:
                batch = Batch(task_ids, subscribing=True, resync=queue is self._resync)
                self._in_flight.append(batch)
                self._consumed.update(dict.fromkeys(task_ids, True))
                return batch
        return None

    def next_unsubscribe(self, now: float, *, together: bool) -> Batch | None:
        """The next UNSUBSCRIBE, if it can travel ``together`` with a SUBSCRIBE, is large, or is old enough.

        And if few enough are on their way: the server keeps what we have not read yet in memory, and cuts a subscriber
        off for whom that becomes too much.
        """
        if not self._leaving:
            self._leaving_since = None
            return None
        if self._leaving_since is None:
            self._leaving_since = now
        if self._have_to_stay():
            return None
        if not together and len(self._leaving) < BATCH_SIZE and now - self._leaving_since < LINGER:
            return None
        batch = Batch(self._leaving.pop(BATCH_SIZE), subscribing=False)
        self._in_flight.append(batch)
        return batch

    def next_due(self) -> float | None:
        """When the ids that are leaving have lingered long enough; None if the server has to say something first."""
        return None if self._leaving_since is None or self._have_to_stay() else self._leaving_since + LINGER

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
                self._ended.difference_update(batch.ids)
        return complete

    def restart(self) -> None:
        """The connection is new and knows nothing: queue everything that is wanted."""
        self._consumed.update(dict.fromkeys(self._consumed, False))
        self._resync = IdQueue(self._consumed)
        self._queued = IdQueue()
        self._leaving = IdQueue()
        self._leaving_since = None
        self._ended.clear()
        self._in_flight.clear()

    def _have_to_stay(self) -> bool:
        """Whether no UNSUBSCRIBE may be sent now.

        After a reconnect, whoever waits goes first. Nobody waits for an id to leave.
        """
        return bool(self._resync) or sum(not batch.subscribing for batch in self._in_flight) >= IN_FLIGHT

    def _leave(self, task_id: str) -> bool:
        """Whether it has to be unsubscribed now."""
        asked_for = self._consumed.pop(task_id, None)
        if asked_for:
            self._leaving.add(task_id)
            return True
        if asked_for is not None and not self._queued.discard(task_id):
            self._resync.discard(task_id)
        return False
