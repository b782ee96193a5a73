"""P17: growth: what a result costs with 100 to 100 000 ids at once.

As in P4: the publisher sends as fast as the server takes it, and one thread watches and waits for all of them. The cost
is the processor time of the waiting process; few ids at once are done several times over, so that every figure is that
of thousands of results. The elapsed time is recorded beside it; the fewer results, the more of it is one round trip.

Judged is the cost with the most ids against the *cheapest* of all smaller numbers. Celery's, one ``get()`` after the
other, is recorded once, up to 10 000.
"""

from __future__ import annotations

from bgresults.benchmarking import Chart, Growth, Lab, Question
from bgresults.benchmarking.contenders import CELERY_DEFAULT, OURS, Contender, Ours, Theirs
from bgresults.benchmarking.many import one_batch
from bgresults.benchmarking.team import Team

COUNTS = (100, 1000, 10_000, 100_000)
SIZE = 200
# Results of one figure at least; and how often at most a number of ids is repeated for that.
ENOUGH = 10_000
MOST_TIMES = 20
# Celery takes 0.3 ms for each.
MOST_OF_CELERY = 10_000


def measure(lab: Lab) -> None:
    """Celery's cost is for the plot only."""
    ours = Ours(lab.url, max_pending=2 * max(COUNTS))
    theirs = Theirs(lab.url, shared=False)
    teams = {contender.name: Team(1, contender.name) for contender in (ours, theirs)}
    try:
        for contender in (ours, theirs):
            one_batch(lab, contender, teams[contender.name], 2, SIZE, stored=True)
        for number in lab.rounds():
            for count in lab.in_turn(COUNTS, number):
                _cost(lab, ours, teams[OURS], count)
            if number == 0 and not lab.quick:
                for count in COUNTS:
                    if count <= MOST_OF_CELERY:
                        _cost(lab, theirs, teams[CELERY_DEFAULT], count)
    finally:
        for contender in (ours, theirs):
            teams[contender.name].close()
            contender.close()
    lab.note(f"{SIZE}-byte results")


def _cost(lab: Lab, contender: Contender, team: Team, count: int) -> None:
    """Record the microseconds of one result."""
    times = min(max(1, lab.size(ENOUGH) // count), MOST_TIMES)
    batches = [one_batch(lab, contender, team, count, SIZE, stored=False) for _ in range(times)]
    results = times * count
    lab.record(f"{count} ids", contender.name, sum(batch.processor_seconds for batch in batches) / results * 1e6)
    lab.record(f"{count} ids, elapsed", contender.name, sum(batch.seconds for batch in batches) / results * 1e6)


QUESTION = Question(
    title="growth: the cost of a result with 100 to 100 000 ids",
    unit="µs",
    checks=[
        Growth(
            f"{max(COUNTS)} ids",
            tuple(f"{count} ids" for count in COUNTS if count < max(COUNTS)),
            floor=1.5,
            goal=1.1,
        )
    ],
    measure=measure,
    charts=[
        Chart(
            name="cost",
            title="what a result costs, against the number of ids",
            x="ids at once",
            y="µs per result",
            lines={
                "processor time": {count: f"{count} ids" for count in COUNTS},
                "elapsed": {count: f"{count} ids, elapsed" for count in COUNTS},
            },
        )
    ],
)
