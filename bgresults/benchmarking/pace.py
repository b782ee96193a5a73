"""The pace at which a machine is asked: a load that means the same on a fast one and on a slow one.

How far apart two ways to wait are depends on the load. While Celery's threads keep up, each with two connections of its
own, the distance is that of a single thread. Beyond that the GIL, the connections and the wake-ups of bystanders add
up, and where "beyond" begins is a matter of the machine: one that is twice as fast keeps up with twice the pace. So a
question says how much slower than with one thread Celery has to be, and the pace is raised until it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import Contender
from bgresults.benchmarking.lab import Lab
from bgresults.benchmarking.streams import latencies, warm
from bgresults.benchmarking.team import Team

__all__ = ["CALM", "Slower", "find_pace", "lowest_pace"]

Way = TypeVar("Way")

#: Results per second at which everybody keeps up; where the search begins.
CALM = 400
_STEP = 1.25
# A machine that keeps up with this is asked there.
_HIGHEST = 20_000
# Seconds of a stream, and how many of them: of each way the best one counts.
_STREAM_SECONDS = 1.0
_STREAMS = 2
# Where a single thread is asked, as in P1.
_SINGLE_RATE = 200


@dataclass(frozen=True)
class Slower:
    """The pace at which Celery's median is so many ``times`` that of its single thread."""

    times: float


def find_pace(lab: Lab, contenders: Sequence[Contender], teams: dict[str, Team], slower: Slower) -> int:
    """Return the lowest pace, in results per second, at which *each* of these is slower than one thread is.

    Args:
        lab: where.
        contenders: Celery's ways to wait.
        teams: the threads of each, warmed.
        slower: than the best of them with a single thread.
    """

    def median(contender: Contender, team: Team, rate: float) -> float:
        per_thread = max(2, round(_STREAM_SECONDS * rate / team.size))
        streams = (latencies(lab, contender, team, per_thread=per_thread, size=200, rate=rate) for _ in range(_STREAMS))
        return min(percentile(taken, 50) for taken in streams)

    single = min(_single(lab, contender, median) for contender in contenders)
    pace = lowest_pace(
        contenders, lambda contender, rate: median(contender, teams[contender.name], rate) / single, slower.times
    )
    lab.note(
        f"pace: the lowest, in steps of {_STEP:g} from {CALM}/s, at which Celery's median is in either mode "
        f"{slower.times:g} times that of one thread ({single * 1e6:.0f} µs): {pace}/s"
    )
    return pace


def lowest_pace(ways: Sequence[Way], slowness: Callable[[Way, float], float], slower: float) -> int:
    """Return the first step at which ``slowness(way, rate)`` is at least ``slower`` for each way."""
    rate = float(CALM)
    while rate < _HIGHEST and not all(slowness(way, round(rate)) >= slower for way in ways):
        rate *= _STEP
    return round(rate)


def _single(lab: Lab, contender: Contender, median: Callable[[Contender, Team, float], float]) -> float:
    team = Team(1, contender.name)
    try:
        warm(lab, contender, team)
        return median(contender, team, _SINGLE_RATE)
    finally:
        team.close()
