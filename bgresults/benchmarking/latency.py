"""From the moment of publishing to the moment at which the waiting thread has its result, over all rounds."""

from __future__ import annotations

from collections.abc import Callable

from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import CELERY, Contender, all_of
from bgresults.benchmarking.lab import BODY_SIZES, Lab
from bgresults.benchmarking.pace import Slower, find_pace, single_thread
from bgresults.benchmarking.streams import taking_turns, warm
from bgresults.benchmarking.team import Team

__all__ = ["measure_latency"]

# Of the stream that is recorded beside the judged ones.
_ROUNDS_BESIDE = 3


def measure_latency(
    lab: Lab,
    *,
    threads: int,
    results: int,
    pace: int | Slower,
    beside: int,
    ways: Callable[[str], list[Contender]] = all_of,
) -> None:
    """Record the p50 and p99 of every contender in microseconds, one metric for each body size.

    Args:
        lab: where to.
        threads: that wait at the same time.
        results: in one round, for all threads together.
        pace: results per second, for all threads together; or which one is looked for.
        beside: results per second of a second stream, of small bodies only, at which everybody keeps up: it is
            recorded and not judged.
        ways: makes the contenders, from the URL of the server.
    """
    contenders = ways(lab.url)
    teams = {contender.name: Team(threads, contender.name) for contender in contenders}
    per_thread = max(2, results // threads)
    try:
        for contender in contenders:
            warm(lab, contender, teams[contender.name])
        if isinstance(pace, Slower):
            theirs = [contender for contender in contenders if contender.name in CELERY]
            single = single_thread(lab, theirs)
            judged = find_pace(lab, theirs, teams, pace, single=single, results=results)
        else:
            judged = pace
        streams = [(label, size, judged, per_thread) for label, size in BODY_SIZES.items()]
        if not lab.quick:
            small = min(BODY_SIZES, key=lambda label: BODY_SIZES[label])
            # For a second: nobody is late here, and so nobody gets later.
            streams.append((f"{small} at {beside}/s", BODY_SIZES[small], beside, max(2, beside // threads)))
        for number in lab.rounds():
            for label, size, rate, each in streams[: None if number < _ROUNDS_BESIDE else len(BODY_SIZES)]:
                calm = not isinstance(pace, Slower) or rate == beside
                taken = taking_turns(lab, contenders, teams, number, per_thread=each, size=size, rate=rate, calm=calm)
                for name, seconds in taken.items():
                    for share in (50, 99):
                        lab.record(f"{label} p{share}", name, percentile(seconds, share) * 1e6)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            contender.close()
    lab.note(f"{threads} waiting, {judged} results/s in all, {threads * per_thread} per round")
