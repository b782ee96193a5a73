"""Latency against the number of waiting threads, 1 to 1000, at a pace at which everybody keeps up.

As in P2 and P3, beside what is judged there. No floor: it is drawn. Celery's modes are asked with up to 256 threads,
which are 512 connections.
"""

from __future__ import annotations

from bgresults.benchmarking import Chart, Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import CELERY, Contender, Ours, all_of
from bgresults.benchmarking.pace import CALM
from bgresults.benchmarking.streams import latencies, warm
from bgresults.benchmarking.team import Team

THREADS = (1, 4, 16, 64, 256, 1000)
MOST_OF_CELERY = 256
SIZE = 200


def measure(lab: Lab) -> None:
    """For a second each, or for two results of each thread."""
    for threads in THREADS:
        contenders: list[Contender] = all_of(lab.url) if threads <= MOST_OF_CELERY else [Ours(lab.url)]
        teams = {contender.name: Team(threads, contender.name) for contender in contenders}
        try:
            for contender in contenders:
                warm(lab, contender, teams[contender.name])
            for number in lab.rounds():
                for contender in lab.in_turn(contenders, number):
                    team, each = teams[contender.name], max(2, CALM // threads)
                    taken = latencies(lab, contender, team, per_thread=each, size=SIZE, rate=CALM)
                    for share in (50, 99):
                        lab.record(f"{threads} threads p{share}", contender.name, percentile(taken, share) * 1e6)
        finally:
            for contender in contenders:
                teams[contender.name].close()
                contender.close()
    lab.note(f"{SIZE}-byte results, {CALM} a second in all; {' and '.join(CELERY)} with up to {MOST_OF_CELERY} threads")


QUESTION = Question(
    title="from publish to result(), 1 to 1000 waiting threads, at a calm pace",
    unit="µs",
    checks=[],
    measure=measure,
    charts=[
        Chart(
            name="latency",
            title=f"from publish to result() at {CALM} results/s, against the threads that wait",
            x="waiting threads",
            y="µs",
            lines={f"p{share}": {threads: f"{threads} threads p{share}" for threads in THREADS} for share in (50, 99)},
        )
    ],
    decimals=0,
)
