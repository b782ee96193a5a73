"""A stream of results at an even pace, and how late each of them is.

An open loop: one publisher sends at a fixed pace and waits for nobody; its stream goes to the threads in turn. A
thread asks for its next result as soon as it has the last one, so it usually waits already when that one is published.
If it is late, because its side cannot keep up, the time it is late counts, as it does for the user of a web site.

The clock starts in the publisher, before what the worker sends (a MULTI, or a message) goes to the kernel, and stops in
the waiting thread, when ``result()`` or ``get()`` has returned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from bgresults.benchmarking.contenders import Contender, until_none_is_missed
from bgresults.benchmarking.lab import AnyLab
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["latencies", "warm"]


def latencies(lab: AnyLab, contender: Contender, team: Team, *, per_thread: int, size: int, rate: float) -> list[float]:
    """Send one stream; return the seconds from the publishing of each result to its return.

    Args:
        lab: where.
        contender: the way to wait.
        team: the threads that wait.
        per_thread: results for each of them.
        size: bytes of a result.
        rate: results per second, for all threads together.
    """
    stream = partial(_one_stream, lab, contender, team, per_thread, size, rate)
    return until_none_is_missed(contender, stream, lab.note)


def warm(lab: AnyLab, contender: Contender, team: Team) -> None:
    """Let every thread wait once: imports are done and connections are made then."""
    task_ids = new_ids(team.size)
    lab.publisher.prepare(task_ids, 200, contender.queues)
    lab.publisher.flood()
    lab.publisher.sent()
    team.run(lambda number: contender.wait_one(task_ids[number]))


def _one_stream(lab: AnyLab, contender: Contender, team: Team, per_thread: int, size: int, rate: float) -> list[float]:
    task_ids = new_ids(team.size * per_thread)
    lab.publisher.prepare(task_ids, size, contender.queues)
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
