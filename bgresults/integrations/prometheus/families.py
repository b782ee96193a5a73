"""The metrics there are, in one table, and their values: what both ways to export them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from bgresults.tally import COUNTED, OUTCOMES, STATES, Totals

__all__ = ["FAMILIES", "WAIT_SECONDS", "Family", "Reading", "bounds_of", "readings"]


@dataclass(frozen=True)
class Family:
    """One metric.

    Attributes:
        name: without the ``_total`` of a counter.
        kind: ``counter`` or ``gauge``.
        text: its help.
        read: its value, or value by value of its second label.
        label: that second label; None if the watcher's name is all.
        mode: how ``prometheus_client`` makes one value of those of several processes; of a gauge.
    """

    name: str
    kind: str
    text: str
    read: Callable[[Totals], float | dict[str, float]]
    label: str | None = None
    mode: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its labels."""
        return ("watcher",) if self.label is None else ("watcher", self.label)


class Reading(NamedTuple):
    """The value of a metric at a moment."""

    family: Family
    values: tuple[str, ...]
    value: float


def _counter(name: str, text: str) -> Family:
    return Family(f"bgresults_{name}", "counter", text, lambda totals: totals.counted[name])


FAMILIES = (
    Family("bgresults_pending", "gauge", "Futures that wait now", lambda totals: totals.pending, mode="livesum"),
    Family(
        "bgresults_subscribed",
        "gauge",
        "Task ids that the backend is asked to report now",
        lambda totals: totals.subscribed,
        mode="livesum",
    ),
    Family(
        "bgresults_oldest_pending_seconds",
        "gauge",
        "How long the oldest pending future has waited; 0 if there is none",
        lambda totals: totals.oldest_pending,
        mode="livemax",
    ),
    Family(
        "bgresults_threads",
        "gauge",
        "Drain threads that run: one for each process that uses the watcher",
        lambda totals: totals.threads,
        mode="livesum",
    ),
    Family(
        "bgresults_connected",
        "gauge",
        "Drain threads that have a connection to the result backend",
        lambda totals: totals.connected,
        mode="livesum",
    ),
    Family(
        "bgresults_state",
        "gauge",
        "Drain threads in each state",
        lambda totals: {state: totals.states[state] for state in STATES},
        "state",
        mode="livesum",
    ),
    Family(
        "bgresults_last_message_timestamp_seconds",
        "gauge",
        "When states of tasks came last, as Unix time; 0 if none did",
        lambda totals: totals.last_message,
        mode="livemax",
    ),
    Family(
        "bgresults_ended",
        "counter",
        "Waits that ended",
        lambda totals: {outcome: totals.outcomes[outcome] for outcome in OUTCOMES},
        "outcome",
    ),
    *(_counter(name, text) for name, text in COUNTED.items()),
)

#: The histogram, whose labels are the watcher's name and the outcome.
WAIT_SECONDS = Family(
    "bgresults_wait_seconds",
    "histogram",
    "From watch() to the end of the future",
    lambda totals: {outcome: waits.seconds for outcome, waits in totals.waits.items()},
    "outcome",
)


def readings(family: Family, watcher: str, totals: Totals) -> Iterator[Reading]:
    """The values of one metric of one watcher."""
    found = family.read(totals)
    if isinstance(found, dict):
        for label, value in found.items():
            yield Reading(family, (watcher, label), value)
    else:
        yield Reading(family, (watcher,), found)


def bounds_of(boundaries: Iterable[float]) -> list[str]:
    """The bounds of a histogram's buckets, as Prometheus writes them."""
    return [floatToGoString(bound) for bound in (*boundaries, math.inf)]  # type: ignore[no-untyped-call]
