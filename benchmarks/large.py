"""Results of 1 MiB: how long they take, and what becomes of the small ones of other threads meanwhile.

A stream of small results goes to 16 threads, as in P2. Beside it one more thread waits for large results, ten a second,
that come from a publisher of their own; a round without them comes before. A large result is a list of rows, which
takes json a hundred times as long as a string of that size. No floor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bgresults.benchmarking import Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import Contender, all_of
from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.senders import RedisAddress
from bgresults.benchmarking.streams import latencies, warm
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids
from bgresults.testing.servers import LOOPBACK

SIZE, LARGE = 200, 1 << 20
THREADS = 16
# Results a second.
RATE, LARGE_RATE = 400, 10
SECONDS = 3


def measure(lab: Lab) -> None:
    """The small ones alone, then beside the large ones."""
    seconds = lab.size(SECONDS, 1)
    contenders = all_of(lab.url)
    teams = {contender.name: Team(THREADS, contender.name) for contender in contenders}
    others = {contender.name: Team(1, f"{contender.name} large") for contender in contenders}
    try:
        with Publisher(RedisAddress(LOOPBACK, lab.server.port)) as publisher:
            for contender in contenders:
                for team in (teams[contender.name], others[contender.name]):
                    warm(lab, contender, team)
            for number in lab.rounds():
                for contender in lab.in_turn(contenders, number):
                    team = teams[contender.name]
                    each = RATE * seconds // THREADS
                    taken = latencies(lab, contender, team, per_thread=each, size=SIZE, rate=RATE)
                    _record(lab, "small alone", contender, taken)
                    with _large(lab, publisher, contender, others[contender.name], LARGE_RATE * seconds):
                        taken = latencies(lab, contender, team, per_thread=each, size=SIZE, rate=RATE)
                    _record(lab, "small beside large", contender, taken)
    finally:
        for contender in contenders:
            teams[contender.name].close()
            others[contender.name].close()
            contender.close()
    lab.note(f"small: {SIZE} bytes, {RATE}/s to {THREADS} threads; large: {LARGE} bytes, {LARGE_RATE}/s to one thread")


def _record(lab: Lab, metric: str, contender: Contender, taken: Sequence[float]) -> None:
    for share in (50, 99):
        lab.record(f"{metric} p{share}", contender.name, percentile(taken, share) * 1000)
    lab.record(f"{metric}, slowest", contender.name, max(taken) * 1000)


@contextmanager
def _large(lab: Lab, publisher: Publisher, contender: Contender, team: Team, count: int) -> Iterator[None]:
    """Have so many large results published and waited for meanwhile."""
    task_ids = new_ids(count)
    publisher.prepare(task_ids, LARGE)

    def work(_: int) -> list[float]:
        ends = []
        for task_id in task_ids:
            contender.wait_one(task_id)
            ends.append(time.monotonic())
        return ends

    returned = team.start(work)
    publisher.pace(LARGE_RATE)
    yield
    (ends,) = returned()
    sent = publisher.sent()
    _record(lab, "large", contender, [end - start for start, end in zip(sent, ends, strict=True)])


QUESTION = Question(
    title="from publish to result(), results of 1 MiB among small ones",
    unit="ms",
    checks=[],
    measure=measure,
    decimals=2,
)
