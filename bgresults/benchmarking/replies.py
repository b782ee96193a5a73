"""Replies through a message broker: at an even pace, and as fast as they can be had.

The broker is in the middle of all of it, with both sides alike: a worker's message, the broker's delivery.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from functools import partial

from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.broker_lab import BrokerLab
from bgresults.benchmarking.contenders import CELERY, until_none_is_missed
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.pace import Slower, find_pace, long_enough
from bgresults.benchmarking.reply_contenders import ReplyContender, reply_contenders
from bgresults.benchmarking.streams import taking_turns, warm
from bgresults.benchmarking.wire import new_ids

__all__ = ["measure_reply_latency", "measure_reply_rate"]

# Of a stream that is recorded beside the judged ones.
_ROUNDS_BESIDE = 3
# How often a contender has its turn in one round, at full speed.
_TURNS = 4


@dataclass(frozen=True)
class _Stream:
    """What is sent in a round, at an even pace, and which percentiles of it are recorded, by metric."""

    size: int
    rate: int
    results: int
    calm: bool
    metrics: dict[str, int]
    #: In this many rounds at most.
    rounds: float = math.inf


def measure_reply_latency(
    lab: BrokerLab,
    *,
    threads: int,
    results: int,
    rate: int,
    beside: int | None = None,
    tail: Slower | None = None,
    single: float = 0.0,
) -> float:
    """Record the p50 and p99 of every contender in microseconds, one metric for each body size.

    Args:
        lab: where to.
        threads: that wait at the same time.
        results: in one round, for all threads together.
        rate: results per second, for all threads together.
        beside: results per second of another stream, of small bodies only, which is recorded and not judged.
        tail: look for the pace at which Celery's p99 is that much slower than ``single``, and record the p99 at that
            one; the one at ``rate`` is recorded beside it.
        single: seconds, of Celery's single thread.

    Returns:
        The seconds of Celery's better mode: the median of the small bodies.
    """
    small = min(BODY_SIZES, key=lambda label: BODY_SIZES[label])
    with reply_contenders(lab.url, threads, lab.note) as contenders:
        for contender in contenders:
            warm(lab, contender, contender.team)
        teams = {contender.name: contender.team for contender in contenders}
        streams = []
        for label, size in BODY_SIZES.items():
            name = f"{threads} threads, {label}"
            p99 = f"{name} p99" if tail is None else f"{name} at {rate}/s p99"
            streams.append(_Stream(size, rate, results, True, {f"{name} p50": 50, p99: 99}))
        if tail is not None:
            theirs = [contender for contender in contenders if contender.name in CELERY]
            pace = find_pace(lab, theirs, teams, tail, single=single, results=results)
            streams += [
                _Stream(size, pace, long_enough(results, pace), False, {f"{threads} threads, {label} p99": 99})
                for label, size in BODY_SIZES.items()
            ]
        if beside is not None and not lab.quick:
            name = f"{threads} threads, {small} at {beside}/s"
            metrics = {f"{name} p50": 50, f"{name} p99": 99}
            streams.append(_Stream(BODY_SIZES[small], beside, beside, True, metrics, _ROUNDS_BESIDE))
        for number in lab.rounds():
            for stream in (stream for stream in streams if number < stream.rounds):
                taken = taking_turns(
                    lab,
                    contenders,
                    teams,
                    number,
                    per_thread=max(2, stream.results // threads),
                    size=stream.size,
                    rate=stream.rate,
                    calm=stream.calm,
                )
                for contender_name, seconds in taken.items():
                    for metric, share in stream.metrics.items():
                        lab.record(metric, contender_name, percentile(seconds, share) * 1e6)
    lab.note(f"{threads} waiting: {rate} results/s in all, {results} per round")
    recorded = lab.records[f"{threads} threads, {small} p50"]
    return min(statistics.median(values) for name, values in recorded.items() if name in CELERY) / 1e6


def measure_reply_rate(lab: BrokerLab, *, threads: int, results: int) -> None:
    """Record the results per second of every contender, one metric for each body size.

    The publisher sends as fast as the broker takes it, a result for each thread in turn, and every thread waits for
    its results, one after the other. The clock runs from the first order until the last thread has its last result.

    Recorded beside it, with small bodies only: every thread asks the publisher for one result, which is sent at once,
    waits for it, and asks for the next one, as with tasks that take no time and workers that are always free. That
    rate is the broker's and the publisher's as well.

    Args:
        lab: where to.
        threads: that wait at the same time.
        results: in one round, for all threads together, in several turns: Celery is three times as fast in one as in
            the next.
    """
    per_turn = max(2, results // threads // _TURNS)
    small = min(BODY_SIZES, key=lambda label: BODY_SIZES[label])
    runs = [(f"{threads} threads, {label}", size, _flooded) for label, size in BODY_SIZES.items()]
    runs.append((f"{threads} threads, {small}, one at a time", BODY_SIZES[small], _one_at_a_time))
    with reply_contenders(lab.url, threads, lab.note) as contenders:
        for contender in contenders:
            warm(lab, contender, contender.team)
        for number in lab.rounds():
            for metric, size, run in runs:
                taken = dict.fromkeys((contender.name for contender in contenders), 0.0)
                for turn in range(_TURNS):
                    for contender in lab.in_turn(contenders, number * _TURNS + turn):
                        measured = partial(lab.undisturbed, partial(run, lab, contender, threads * per_turn, size))
                        taken[contender.name] += until_none_is_missed(contender, measured, lab.note)
                for name, seconds in taken.items():
                    lab.record(metric, name, _TURNS * threads * per_turn / seconds)
    lab.note(f"{threads} threads: {threads * per_turn} results at once, {_TURNS} times per round")


def _flooded(lab: BrokerLab, contender: ReplyContender, count: int, size: int) -> float:
    task_ids, team = new_ids(count), contender.team
    lab.publisher.prepare(task_ids, size, contender.queues)

    def work(number: int) -> None:
        for task_id in task_ids[number :: team.size]:
            contender.wait_one(task_id)

    with lab.measuring():
        started = time.monotonic()
        lab.publisher.flood()
        team.run(work)
        seconds = time.monotonic() - started
    lab.publisher.sent()
    return seconds


def _one_at_a_time(lab: BrokerLab, contender: ReplyContender, count: int, size: int) -> float:
    task_ids, team, publisher = new_ids(count), contender.team, lab.publisher
    publisher.prepare(task_ids, size, contender.queues)

    def work(number: int) -> None:
        for place in range(number, len(task_ids), team.size):
            contender.wait_for(task_ids[place], partial(publisher.request, place))

    with lab.measuring():
        publisher.obey()
        started = time.monotonic()
        team.run(work)
        seconds = time.monotonic() - started
    publisher.sent()
    return seconds
