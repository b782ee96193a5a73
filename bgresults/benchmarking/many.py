"""Many results: from their ids to their values.

The clock starts, the publisher is told to send everything as fast as the server takes it, and the same thread goes on
to ask for the results. So some are stored already when they are asked for, and some are published later, as it is with
a fleet of workers and a thread that has just sent its tasks: publishing, subscribing, reading and resolving overlap.
The clock stops when the last value is there.

The same with everything stored before the clock starts is recorded beside it ("stored"): that is the waiting side
alone. The publisher's pipelines are encoded beforehand either way, and it is idle long before the slowest is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from bgresults.benchmarking.contenders import Contender, until_none_is_missed
from bgresults.benchmarking.lab import BODY_SIZES, Lab
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["measure_many"]


def measure_many(lab: Lab, contenders: Sequence[Contender], *, threads: int, count: int) -> None:
    """Record the total seconds of every contender, one metric for each body size, overlapped and stored.

    Args:
        lab: where to.
        contenders: who. They are closed at the end.
        threads: that share the work; each waits for all of its share at once, where its side can.
        count: results in all.
    """
    teams = {contender.name: Team(threads, contender.name) for contender in contenders}
    try:
        for contender in contenders:
            # All connections are made, and everything is imported.
            _one_batch(lab, contender, teams[contender.name], threads * 2, 200, stored=True)
        for number in lab.rounds():
            for label, size in BODY_SIZES.items():
                for contender in lab.in_turn(contenders, number):
                    # Large bodies say nothing more there, and this takes the most time of all.
                    for stored in (False, True) if size == min(BODY_SIZES.values()) else (False,):
                        batch = partial(_one_batch, lab, contender, teams[contender.name], count, size, stored=stored)
                        taken, published = until_none_is_missed(contender, batch, lab.note)
                        metric = f"{label} stored" if stored else label
                        lab.record(metric, contender.name, taken)
                        if not stored:
                            lab.record(f"{label} publisher", contender.name, published)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            contender.close()
    lab.note(f"{count} results, {threads} thread{'s' * (threads > 1)}")
    lab.note("publisher: until the last result was sent, in the same run")


def _one_batch(
    lab: Lab, contender: Contender, team: Team, count: int, size: int, *, stored: bool
) -> tuple[float, float]:
    """How long it took, and how long the publisher was at work."""
    task_ids = new_ids(count)
    lab.publisher.prepare(task_ids, size)
    published: list[float] = []
    if stored:
        lab.publisher.flood()
        published = lab.publisher.sent()
    with lab.measuring():
        started = time.monotonic()
        if not stored:
            lab.publisher.flood()
        values = _shared_out(contender, team, task_ids)()
        taken = time.monotonic() - started
    if not stored:
        published = lab.publisher.sent()
    if sum(map(len, values)) != count:
        raise RuntimeError(f"{contender.name}: {count} results were due, {sum(map(len, values))} came")
    with lab.server.client() as client:
        # What was read is of no use any more, and 80 MB per batch add up.
        client.flushall()
    return taken, max(published) - started


def _shared_out(contender: Contender, team: Team, task_ids: Sequence[str]) -> Callable[[], list[list[object]]]:
    return team.start(lambda number: contender.wait_all(task_ids[number :: team.size]))
