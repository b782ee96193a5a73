""":class:`OutageLog`: what the last outages of a watcher were, and what they cost."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from bgresults.stats import Counters

__all__ = ["Outage", "OutageLog"]

# An outage that goes on and off, again and again, must not take memory for ever.
_REMEMBERED = 10


@dataclass(frozen=True)
class Outage:
    """One of them. No field has a password in it.

    Attributes:
        began: Unix time in seconds.
        seconds: how long it lasted; of one that is not over, until now.
        over: whether there is a connection again.
        reason: what the first error said.
        pending: futures that waited when it began.
        still_pending: futures that wait now, or waited when it was over and all that had come meanwhile was known.
        recovered: results that came meanwhile, and were found in the server afterwards (Redis).
        given_up: futures that were ended because of it, with ``BackendUnavailableError``.
        expired: futures that reached their ``lifetime`` meanwhile.
        queues_lost: reply queues that were gone afterwards, with what was in them (rpc).
    """

    began: float
    seconds: float
    over: bool
    reason: str
    pending: int
    still_pending: int
    recovered: int = 0
    given_up: int = 0
    expired: int = 0
    queues_lost: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict that ``json.dumps()`` takes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Open:
    """An outage that is not over."""

    at: float
    began: float
    reason: str
    pending: int
    expired: int
    queues_lost: int
    recovered: int
    given_up: int = 0


class OutageLog:
    """The last ten. The drain thread writes; any thread reads."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._past: deque[Outage] = deque(maxlen=_REMEMBERED)
        self._open: _Open | None = None

    def begin(self, reason: str, pending: int) -> None:
        """The connection is lost, or could not be made."""
        counters = self._counters
        self._open = _Open(
            time.monotonic(), time.time(), reason, pending, counters.expired, counters.queues_lost, counters.recovered
        )

    def gave_up(self, count: int) -> None:
        """Futures were ended because of the outage."""
        if self._open is not None:
            self._open = dataclasses.replace(self._open, given_up=self._open.given_up + count)

    def end(self, pending: int) -> int:
        """There is a connection again, and all that came meanwhile is known; returns how many were recovered."""
        if self._open is None:
            return 0
        ended = self._told(self._open, pending, over=True)
        self._past.append(ended)
        self._open = None
        return ended.recovered

    def outages(self, pending: int) -> list[Outage]:
        """The oldest first; ``pending`` is how many futures wait now. Any thread."""
        now = self._open
        # A deque is copied in one step.
        past = list(self._past.copy())
        return past if now is None else [*past, self._told(now, pending, over=False)]

    def _told(self, outage: _Open, pending: int, *, over: bool) -> Outage:
        return Outage(
            began=outage.began,
            seconds=time.monotonic() - outage.at,
            over=over,
            reason=outage.reason,
            pending=outage.pending,
            still_pending=pending,
            # Of all attempts: one that was cut half-way has read some already.
            recovered=self._counters.recovered - outage.recovered,
            given_up=outage.given_up,
            expired=self._counters.expired - outage.expired,
            queues_lost=self._counters.queues_lost - outage.queues_lost,
        )
