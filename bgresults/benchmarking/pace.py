"""The pace at which a machine is asked: a load that means the same on a fast one and on a slow one.

How far apart two ways to wait are depends on the load. While Celery's threads keep up, each with two connections of its
own, the distance is that of a single thread. Beyond that the GIL, the connections and the wake-ups of bystanders add
up, and where "beyond" begins is a matter of the machine: one that is twice as fast keeps up with twice the pace. So a
question says how much slower than with one thread Celery has to be, and the pace is raised until it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import Contender
from bgresults.benchmarking.lab import AnyLab
from bgresults.benchmarking.streams import latencies, warm
from bgresults.benchmarking.team import Team

__all__ = [
    "BRISK",
    "CALM",
    "QUIET",
    "SLOWER_WITH_16",
    "Slower",
    "find_pace",
    "long_enough",
    "lowest_pace",
    "single_thread",
]

Way = TypeVar("Way")

#: Results per second at which everybody keeps up; where the search begins.
CALM = 400
#: Results per second for a single thread, over Redis: where Celery's median is about as low as it gets. Beyond it,
#: Celery falls behind now and then. With less to do, the processors fall asleep between two results, and both sides are
#: measured by how long it takes to wake one up: some 100 µs on a virtual machine.
BRISK = 600
#: Results per second for a single thread on a quiet site: the processors sleep between two of them.
QUIET = 200
_STEP = 1.25
# A machine that keeps up with this is asked there.
_HIGHEST = 20_000
# So many streams have to be so slow, each of them: close to the pace at which Celery's threads stop keeping up, one
# stream is slow and the next one is not.
_STREAMS = 5
# A single thread is asked as in P1, for so many seconds.
_SINGLE_SECONDS = 1.0


@dataclass(frozen=True)
class Slower:
    """The pace at which Celery is so many ``times`` slower than the median of its single thread.

    Attributes:
        times: so many.
        share: the percentile that is: 50 for the median.
    """

    times: float
    share: int = 50


#: Celery's median of P2 is 2.15 times that of its single thread: 1.0 ms against 465 µs where the floors were set.
SLOWER_WITH_16 = Slower(2.15)


def find_pace(
    lab: AnyLab,
    contenders: Sequence[Contender],
    teams: dict[str, Team],
    slower: Slower,
    *,
    single: float,
    results: int,
) -> int:
    """Return the lowest pace, in results per second, at which *each* of these is slower than one thread is.

    Args:
        lab: where.
        contenders: Celery's ways to wait.
        teams: the threads of each, warmed.
        slower: than one thread.
        single: the seconds of that one, as :func:`single_thread` has them.
        results: in a stream; more, if that is less than :func:`long_enough`.
    """

    streams = 1 if lab.quick else _STREAMS

    def slowness(contender: Contender, rate: float) -> float:
        team, least = teams[contender.name], math.inf
        # A rough pace is found with streams of half a second.
        count = round(rate / 2) if lab.quick else long_enough(results, rate)
        per_thread = max(2, count // team.size)
        for _ in range(streams):
            taken = latencies(lab, contender, team, per_thread=per_thread, size=200, rate=rate)
            least = min(least, percentile(taken, slower.share) / single)
            if least < slower.times:
                break
        return least

    pace = lowest_pace(contenders, slowness, slower.times)
    what = "median" if slower.share == 50 else f"p{slower.share}"
    lab.note(
        f"pace: the lowest, in steps of {_STEP:g} from {CALM}/s, at which Celery's {what} is in either mode, and in "
        f"each of {streams} streams, {slower.times:g} times the median of one thread ({single * 1e6:.0f} µs): {pace}/s"
    )
    return pace


def long_enough(results: int, rate: float) -> int:
    """So many results, or as many as last for a second: threads that do not keep up need a while to be late."""
    return max(results, round(rate))


def single_thread(lab: AnyLab, contenders: Sequence[Contender]) -> float:
    """Return the median of the best of these with one thread, in seconds; of those that any thread can wait with."""
    return min(_single(lab, contender) for contender in contenders)


def lowest_pace(ways: Sequence[Way], slowness: Callable[[Way, float], float], slower: float) -> int:
    """Return the first step at which ``slowness(way, rate)`` is at least ``slower`` for each way."""
    rate = float(CALM)
    while rate < _HIGHEST and not all(slowness(way, round(rate)) >= slower for way in ways):
        rate *= _STEP
    return round(rate)


def _single(lab: AnyLab, contender: Contender) -> float:
    team = Team(1, contender.name)
    per_thread = round(_SINGLE_SECONDS * BRISK) // (2 if lab.quick else 1)
    try:
        warm(lab, contender, team)
        streams = [latencies(lab, contender, team, per_thread=per_thread, size=200, rate=BRISK) for _ in range(2)]
        return min(percentile(taken, 50) for taken in streams)
    finally:
        team.close()
