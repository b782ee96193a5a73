"""A stream of results at an even pace, and how late each of them is.

An open loop: one publisher sends at a fixed pace and waits for nobody; its stream goes to the threads in turn. A
thread asks for its next result as soon as it has the last one, so it usually waits already when that one is published.
If it is late, because its side cannot keep up, the time it is late counts, as it does for the user of a web site.

The clock starts in the publisher, before what the worker sends (a MULTI, or a message) goes to the kernel, and stops in
the waiting thread, when ``result()`` or ``get()`` has returned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

from bgresults.benchmarking.contenders import Contender, until_none_is_missed
from bgresults.benchmarking.lab import AnyLab
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["latencies", "taking_turns", "warm"]

Item = TypeVar("Item", bound=Contender)
# Of a calm stream: how often a contender has its turn in one round.
_TURNS = 4


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
    return until_none_is_missed(contender, partial(lab.undisturbed, stream), lab.note)


def taking_turns(
    lab: AnyLab,
    contenders: Sequence[Item],
    teams: Mapping[str, Team],
    round_number: int,
    *,
    per_thread: int,
    size: int,
    rate: float,
    calm: bool,
) -> dict[str, list[float]]:
    """Send a stream to each contender; return the seconds of all results, by the name of the contender.

    A calm stream, in which nobody falls behind, is sent in pieces, to one contender after the other, again and again: a
    machine that is slower for a second is so for all of them.

    Args:
        lab: where.
        contenders: in the order of the first round.
        teams: the threads that wait, by the name of the contender.
        round_number: which round this is.
        per_thread: results for each thread.
        size: bytes of a result.
        rate: results per second, for all threads together.
        calm: whether all of them keep up at this rate.
    """
    turns = min(_TURNS, per_thread) if calm else 1
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(turns):
        for contender in lab.in_turn(contenders, round_number * turns + turn):
            # So that the pieces add up.
            piece = (per_thread + turn) // turns
            taken[contender.name] += latencies(
                lab, contender, teams[contender.name], per_thread=piece, size=size, rate=rate
            )
    return taken


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
