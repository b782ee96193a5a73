"""A neighbour in the same process that computes without a pause: P2's threads beside a thread that never waits.

The interpreter lets another thread run after 5 ms (``sys.getswitchinterval()``), so whoever wants to run waits for
that. A result passes two threads here, the one that drains and the one that waits. No floor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bgresults.benchmarking import Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import all_of
from bgresults.benchmarking.streams import latencies, warm
from bgresults.benchmarking.team import Team

THREADS = 16
SIZE = 200
# A second: half of the time of one processor is the neighbour's.
RATE = 50


def measure(lab: Lab) -> None:
    """The same stream with and without the neighbour."""
    contenders = all_of(lab.url)
    teams = {contender.name: Team(THREADS, contender.name) for contender in contenders}
    per_thread = max(1, lab.size(RATE * 4) // THREADS)
    try:
        for contender in contenders:
            warm(lab, contender, teams[contender.name])
        for number in lab.rounds():
            for contender in lab.in_turn(contenders, number):
                for label, busy in (("alone", False), ("beside a neighbour", True)):
                    with _neighbour(busy=busy):
                        team = teams[contender.name]
                        taken = latencies(lab, contender, team, per_thread=per_thread, size=SIZE, rate=RATE)
                    for share in (50, 99):
                        lab.record(f"{label} p{share}", contender.name, percentile(taken, share) * 1000)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            contender.close()
    lab.note(f"{THREADS} waiting, {RATE} results/s in all, {per_thread * THREADS} per round")


@contextmanager
def _neighbour(*, busy: bool) -> Iterator[None]:
    over = threading.Event()

    def compute() -> None:
        number = 0
        while not over.is_set():
            number = (number * 31 + 7) % 1_000_003

    thread = threading.Thread(target=compute, name="neighbour", daemon=True)
    if busy:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if busy:
            thread.join()


QUESTION = Question(
    title="from publish to result(), 16 waiting threads, beside a thread that computes",
    unit="ms",
    checks=[],
    measure=measure,
    decimals=2,
)
