"""From the moment of publishing to the moment at which the waiting thread has its result.

An open loop: one publisher sends at a fixed pace and waits for nobody; its stream goes to the threads in turn. A
thread asks for its next result as soon as it has the last one, so it usually waits already when that one is published.
If it is late, because its side cannot keep up, the time it is late counts, as it does for the user of a web site.

The pace decides what is seen. While Celery's threads keep up, each with two connections of its own, the ratio is that
of a single thread (see the calm rate). Beyond that the GIL, the connections and the wake-ups of bystanders add up, and
the slower side falls behind for as long as the stream lasts.

The clock starts in the publisher, before the worker's MULTI goes to the kernel, and stops in the waiting thread, when
``result()`` or ``get()`` has returned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import Contender, all_of, until_none_is_missed
from bgresults.benchmarking.lab import BODY_SIZES, Lab
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["measure_latency"]


def measure_latency(lab: Lab, *, threads: int, per_thread: int, rate: int, calm_rate: int | None = None) -> None:
    """Record the p50 and p99 of every contender in microseconds, one metric for each body size.

    Args:
        lab: where to.
        threads: that wait at the same time.
        per_thread: results that each thread waits for in one round.
        rate: results per second, for all threads together.
        calm_rate: a lower one, which is recorded beside it, with small bodies only.
    """
    streams = [(label, size, rate) for label, size in BODY_SIZES.items()]
    if calm_rate is not None:
        label, size, _ = streams[0]
        streams.append((f"{label} at {calm_rate}/s", size, calm_rate))
    contenders = all_of(lab.url)
    teams = {contender.name: Team(threads, contender.name) for contender in contenders}
    try:
        for contender in contenders:
            _warm(lab, contender, teams[contender.name])
        for number in lab.rounds():
            for label, size, pace in streams:
                for contender in lab.in_turn(contenders, number):
                    stream = partial(_one_stream, lab, contender, teams[contender.name], per_thread, size, pace)
                    taken = until_none_is_missed(contender, stream, lab.note)
                    for share in (50, 99):
                        lab.record(f"{label} p{share}", contender.name, percentile(taken, share) * 1e6)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            contender.close()
    lab.note(f"{threads} waiting, {rate} results/s in all, {threads * per_thread} per round")


def _one_stream(lab: Lab, contender: Contender, team: Team, per_thread: int, size: int, rate: float) -> list[float]:
    task_ids = new_ids(team.size * per_thread)
    lab.publisher.prepare(task_ids, size)
    with lab.measuring():
        returned = team.start(lambda number: _wait_for(contender, task_ids[number :: team.size]))
        # The publisher takes a short rest before the first one, in which all threads come to wait.
        lab.publisher.pace(rate)
        ends = returned()
    sent = lab.publisher.sent()
    return [
        end - sent[number + place * team.size] for number, times in enumerate(ends) for place, end in enumerate(times)
    ]


def _wait_for(contender: Contender, task_ids: Sequence[str]) -> list[float]:
    ends = []
    for task_id in task_ids:
        contender.wait_one(task_id)
        ends.append(time.monotonic())
    return ends


def _warm(lab: Lab, contender: Contender, team: Team) -> None:
    """Every thread has waited once before: imports are done and connections are made."""
    task_ids = new_ids(team.size)
    lab.publisher.prepare(task_ids, 200)
    lab.publisher.flood()
    lab.publisher.sent()
    team.run(lambda number: contender.wait_one(task_ids[number]))
