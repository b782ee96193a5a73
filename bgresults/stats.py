"""Counters of a watcher: written by its drain thread, read by anybody as one frozen :class:`WatcherStats`."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Counters", "WatcherStats"]


@dataclass(frozen=True)
class WatcherStats:
    """What a watcher has done in this process since it was made (a forked child starts at zero).

    Counters trail what they count by one turn of the drain thread. When it is at rest,
    ``watched == pending + resolved + failed + cancelled + dropped + expired``.

    Attributes:
        pending: futures that wait now.
        subscribed: ids that the backend is asked to report now.
        watched: futures that ``watch()`` handed out as pending, or with a result that was here already.
        resolved: futures that ended with the task's value.
        failed: futures that ended with an exception: the task's, or a library error other than an expiry.
        cancelled: futures that their owner cancelled, or finished by hand.
        dropped: futures that nobody referred to any more.
        expired: futures that reached their ``lifetime``.
        late: states that came for an id that nobody watches, and that are not kept.
        duplicate: states that came a second time.
        redelivered: replies that the broker sent again after a lost connection (rpc only).
        undecodable: messages that could not be read as a task's state.
        buffered: replies that came for an id that nobody watched yet, and were kept (rpc only).
        evicted: replies among those that were given up, unseen, for want of room or because of their age (rpc only).
        queues_lost: how often a reply queue turned out to have been deleted, with what was in it (rpc only).
        reconnects: connections made after one was lost.
        recovered: results that were found by reading the stored ones after a connect.
        callback_errors: exceptions that callbacks raised.
        connected: whether there is a connection now.
        state: the drain thread's state: idle, connecting, syncing, draining, backoff, failed, closing or closed.
        thread_alive: whether the drain thread runs.
    """

    pending: int = 0
    subscribed: int = 0
    watched: int = 0
    resolved: int = 0
    failed: int = 0
    cancelled: int = 0
    dropped: int = 0
    expired: int = 0
    late: int = 0
    duplicate: int = 0
    redelivered: int = 0
    undecodable: int = 0
    buffered: int = 0
    evicted: int = 0
    queues_lost: int = 0
    reconnects: int = 0
    recovered: int = 0
    callback_errors: int = 0
    connected: bool = False
    state: str = "idle"
    thread_alive: bool = False


class Counters:
    """The counters of one session. One thread, the drain thread, writes; a torn read is off by one at most.

    Attributes:
        resolved_at_hand: futures that ended within the call that made them. Any thread writes, under the leaf lock.
    """

    __slots__ = (
        "buffered",
        "callback_errors",
        "cancelled",
        "dropped",
        "duplicate",
        "evicted",
        "expired",
        "failed",
        "late",
        "queues_lost",
        "reconnects",
        "recovered",
        "redelivered",
        "resolved",
        "resolved_at_hand",
        "undecodable",
        "watched",
    )

    def __init__(self) -> None:
        self.buffered = 0
        self.callback_errors = 0
        self.cancelled = 0
        self.dropped = 0
        self.duplicate = 0
        self.evicted = 0
        self.expired = 0
        self.failed = 0
        self.late = 0
        self.queues_lost = 0
        self.reconnects = 0
        self.recovered = 0
        self.redelivered = 0
        self.resolved = 0
        self.resolved_at_hand = 0
        self.undecodable = 0
        self.watched = 0

    def snapshot(
        self, *, pending: int, subscribed: int, connected: bool, state: str, thread_alive: bool
    ) -> WatcherStats:
        """Return the counters together with what is true at this moment."""
        counted = {item.name: getattr(self, item.name) for item in fields(WatcherStats) if hasattr(self, item.name)}
        counted["resolved"] += self.resolved_at_hand
        counted["watched"] += self.resolved_at_hand
        return WatcherStats(
            **counted,
            pending=pending,
            subscribed=subscribed,
            connected=connected,
            state=state,
            thread_alive=thread_alive,
        )
