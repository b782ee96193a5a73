"""Many results: from their ids to their values.

The clock starts, the publisher is told to send everything as fast as the server takes it, and the same thread goes on
to ask for the results. So some are stored already when they are asked for, and some are published later, as it is with
a fleet of workers and a thread that has just sent its tasks: publishing, subscribing, reading and resolving overlap.
The clock stops when the last value is there.

The same with everything stored before the clock starts is recorded beside it ("stored"): that is the waiting side
alone. The publisher's pipelines are encoded beforehand either way, and it is idle long before the slowest is.

Processor time is that of all threads of the waiting process, while the clock runs; the publisher and the server have
processes of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bgresults.benchmarking.contenders import OURS, Contender, Ours, Theirs, TheirsNative, until_none_is_missed
from bgresults.benchmarking.lab import BODY_SIZES, Lab
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["Batch", "elapsed", "measure_many", "measure_one_thread", "one_batch", "processor_time"]

# What takes fewer seconds is measured three times in a round: a moment's noise is a larger part of it.
_SHORT = 1.0
_PROCESSOR_TIME = ", processor time of a result"


@dataclass(frozen=True)
class Batch:
    """What it took to have many results.

    Attributes:
        seconds: by the clock.
        processor_seconds: of the waiting process.
        publishing: seconds until the last of them was sent.
    """

    seconds: float
    processor_seconds: float
    publishing: float


def processor_time(label: str) -> str:
    """The metric of the microseconds per result that :func:`measure_many` records for a body size."""
    return label + _PROCESSOR_TIME


def elapsed(metric: str) -> bool:
    """Whether a metric that :func:`measure_many` records is in seconds: all but the processor time."""
    return not metric.endswith(_PROCESSOR_TIME)


def measure_many(
    lab: Lab,
    contenders: Sequence[Contender],
    *,
    threads: int,
    count: int,
    stored: Collection[str] = (),
    sizes: Mapping[str, int] = BODY_SIZES,
) -> None:
    """Record the total seconds of every contender and the processor time of a result, one metric for each body size.

    Args:
        lab: where to.
        contenders: who. They are closed at the end.
        threads: that share the work; each waits for all of its share at once, where its side can.
        count: results in all.
        stored: names of the contenders of which "stored" is recorded as well, with the smallest bodies.
        sizes: of the bodies, by their label.
    """
    teams = {contender.name: Team(threads, contender.name) for contender in contenders}
    try:
        for contender in contenders:
            # All connections are made, and everything is imported.
            one_batch(lab, contender, teams[contender.name], threads * 2, 200, stored=True)
        for number in lab.rounds():
            for label, size in sizes.items():
                for contender in lab.in_turn(contenders, number):
                    run = partial(one_batch, lab, contender, teams[contender.name], count, size)
                    measure = partial(lab.undisturbed, partial(run, stored=False))
                    batch = _usual(partial(until_none_is_missed, contender, measure, lab.note))
                    lab.record(label, contender.name, batch.seconds)
                    lab.record(f"{label} publisher", contender.name, batch.publishing)
                    lab.record(processor_time(label), contender.name, batch.processor_seconds / count * 1e6)
                    if contender.name in stored and size == min(sizes.values()):
                        batch = _usual(partial(lab.undisturbed, partial(run, stored=True)))
                        lab.record(f"{label} stored", contender.name, batch.seconds)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            contender.close()
    lab.note(f"{count} results, {threads} thread{'s' * (threads > 1)}")
    lab.note("publisher: until the last result was sent, in the same run")


def measure_one_thread(lab: Lab) -> None:
    """What P4 and P6 judge: ``watch_many()``, ``get()`` one by one, and ``join_native()``, each of 10 000 ids."""
    theirs = [kind(lab.url, shared=shared) for kind in (Theirs, TheirsNative) for shared in (False, True)]
    measure_many(lab, [*theirs, Ours(lab.url)], threads=1, count=lab.size(10_000, 1500), stored=[OURS])


def _usual(measure: Callable[[], Batch]) -> Batch:
    """The middle one of three, if they are short."""
    first = measure()
    if first.seconds >= _SHORT:
        return first
    return sorted((first, measure(), measure()), key=lambda batch: batch.seconds)[1]


def one_batch(lab: Lab, contender: Contender, team: Team, count: int, size: int, *, stored: bool) -> Batch:
    """Have so many results published and waited for, by all threads of the team together."""
    task_ids = new_ids(count)
    lab.publisher.prepare(task_ids, size)
    published: list[float] = []
    if stored:
        lab.publisher.flood()
        published = lab.publisher.sent()
    with lab.measuring():
        used = time.process_time()
        started = time.monotonic()
        if not stored:
            lab.publisher.flood()
        values = _shared_out(contender, team, task_ids)()
        seconds = time.monotonic() - started
        used = time.process_time() - used
    if not stored:
        published = lab.publisher.sent()
    if sum(map(len, values)) != count:
        raise RuntimeError(f"{contender.name}: {count} results were due, {sum(map(len, values))} came")
    with lab.server.client() as client:
        # What was read is of no use any more, and 80 MB per batch add up.
        client.flushall()
    return Batch(seconds, used, max(published) - started)


def _shared_out(contender: Contender, team: Team, task_ids: Sequence[str]) -> Callable[[], list[list[object]]]:
    return team.start(lambda number: contender.wait_all(task_ids[number :: team.size]))
