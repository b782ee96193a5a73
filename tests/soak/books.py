"""What the process under test knows of its ids: how many there were, how each ended, and what should not have been."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from bgresults import WatcherStats
from bgresults.benchmarking.arithmetic import percentile
from tests.soak.orders import Order

__all__ = ["Account", "Books"]

# Of the wrongs, as many as help to find out why.
_MOST_WRONGS = 50
# Seconds within which all watchers are connected again after a restart.
_RECENTLY = 30.0


@dataclass
class Account:
    """What the callers of one watcher know about it, to be compared with its counters at its end.

    Attributes:
        waits: whether its watcher keeps futures through an outage, so that none is refused at birth.
        watched: futures that were handed out.
        ended: of the others, how many were seen with a value, with an exception, cancelled or expired.
        raised: exceptions that callbacks raised on the drain thread.
    """

    name: str
    waits: bool = False
    watched: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    raised: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def watches(self, count: int) -> None:
        """So many futures were asked for, and handed out."""
        with self._lock:
            self.watched += count

    def sees(self, what: str, count: int = 1) -> None:
        """A future ended like that."""
        with self._lock:
            self.ended[what] += count

    def raises(self) -> None:
        """A callback raises now."""
        with self._lock:
            self.raised += 1

    def contradictions(self, stats: WatcherStats) -> list[str]:
        """In what the watcher's counters, at its end, do not agree with this; or with each other."""
        pairs = {
            "watched, the sum of all ends": (stats.watched, _ends(stats) + stats.pending),
            "pending, none": (stats.pending, 0),
            "cancelled, cancelled by callers": (stats.cancelled, self.ended["cancelled"]),
            "expired, seen by callers": (stats.expired, self.ended["expired"]),
            "callback errors, raised": (stats.callback_errors, self.raised),
        }
        found = [f"{name}: {ours} and {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        # Futures that were dropped may have got a value that nobody saw; those refused at birth were never pending.
        if stats.resolved < self.ended["value"]:
            found.append(f"resolved, values seen: {stats.resolved} and {self.ended['value']}")
        if stats.watched > self.watched or (self.waits and stats.watched < self.watched):
            found.append(f"watched, handed out: {stats.watched} and {self.watched}")
        return [f"{self.name}: {line}; {asdict(stats)}" for line in found]


def _ends(stats: WatcherStats) -> int:
    return stats.resolved + stats.failed + stats.cancelled + stats.dropped + stats.expired


class Books:
    """Of one process, for all of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: dict[str, deque[float]] = {"redis": deque(), "rpc": deque()}
        self._restarts: list[float] = []
        # Ids that somebody waits for, or will; and those of them whose replies were given up.
        self._expected: set[str] = set()
        self._given_up: set[str] = set()
        #: Ids by backend and kind, and by how they ended.
        self.counts: Counter[str] = Counter()
        #: Reply queues that are gone, and when that was noticed.
        self.lost_queues: dict[str, float] = {}
        #: What must not be, in words.
        self.wrongs: list[str] = []
        #: The longest that a ``result(timeout)`` took beyond its timeout, in seconds.
        self.overshoot = 0.0

    def count(self, what: str, more: int = 1) -> None:
        with self._lock:
            self.counts[what] += more

    def ends(self, order: Order, how: str) -> None:
        """An id has come to its end."""
        self._expected.discard(order.task_id)
        self._given_up.discard(order.task_id)
        with self._lock:
            self.counts["ids"] += 1
            self.counts[f"{order.backend} ids"] += 1
            self.counts[f"{order.backend} {how}"] += 1
            self.counts[f"kind {order.kind}"] += 1

    def wrong(self, text: str) -> None:
        """Something that must not be."""
        with self._lock:
            self.counts["wrongs"] += 1
            if len(self.wrongs) < _MOST_WRONGS:
                self.wrongs.append(text)

    def took(self, order: Order, value: dict[str, Any]) -> None:
        """A result was read as soon as it came."""
        if order.kind != "worker":
            self._latencies[order.backend].append(time.monotonic() - value["at"])

    def timed_out(self, beyond: float) -> None:
        """A ``result(timeout)`` ended so many seconds after its timeout."""
        with self._lock:
            self.overshoot = max(self.overshoot, beyond)

    def expects(self, orders: Iterable[Order]) -> None:
        """Somebody will wait for these, one after the other."""
        self._expected.update(order.task_id for order in orders)

    def given_up(self, task_id: str) -> None:
        """A watcher had a reply that nobody was waiting for, and no more room for it. Any drain thread."""
        if task_id in self._expected:
            self._given_up.add(task_id)

    def broker_restarted(self, at: float) -> None:
        """Replies that were in a queue then and are not persistent are gone."""
        self._restarts.append(at)

    def queue_lost(self, name: str, at: float) -> None:
        """A watcher found out that its reply queue is gone."""
        with self._lock:
            self.lost_queues[name] = at

    def explain_lost_queues(self) -> None:
        """Count those that were found to be gone when the broker had just been restarted; any other is wrong."""
        for name, at in self.lost_queues.items():
            if any(at - _RECENTLY < restart <= at for restart in self._restarts):
                self.count("reply queues lost in a restart of the broker")
            else:
                self.wrong(f"the reply queue {name} was lost at {at:.1f}; the broker was up again at {self._restarts}")

    def why_lost(self, order: Order, since: float) -> str | None:
        """Why, according to docs/amqp.md, an id may have been lost that is waited for since then; None: it may not."""
        if order.queue is None:
            return None
        if not order.persistent and any(at >= since for at in list(self._restarts)):
            return "lost in a restart of the broker, not persistent"
        if self.lost_queues.get(order.queue, 0.0) >= since:
            return "lost with its queue"
        if order.task_id in self._given_up:
            return "came between two watches, and there was no room to keep it"
        return None

    def latencies(self) -> dict[str, dict[str, float]]:
        """Of what came since the last call: how many, percentiles, the longest; in seconds."""
        found = {}
        for backend, taken in self._latencies.items():
            values = [taken.popleft() for _ in range(len(taken))]
            if values:
                found[backend] = {
                    "count": len(values),
                    "p50": percentile(values, 50),
                    "p99": percentile(values, 99),
                    "longest": max(values),
                }
        return found
