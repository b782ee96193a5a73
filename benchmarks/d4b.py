"""D4b: P4b through the drop-in. What is timed is written in bgresults.benchmarking.many."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY, OURS, DropIn, Theirs
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.many import elapsed, measure_many


def measure(lab: Lab) -> None:
    """``get()`` one by one in each thread, against itself."""
    contenders = [Theirs(lab.url, shared=shared) for shared in (False, True)]
    measure_many(lab, [*contenders, DropIn(lab.url)], threads=64, count=lab.size(10_000), stored=[OURS])


QUESTION = Question(
    title="the drop-in: get() of 10 000 ids, 64 threads",
    unit="s",
    checks=[Ratio(label, CELERY, floor=3, goal=4) for label in BODY_SIZES],
    measure=measure,
    shows=elapsed,
    decimals=3,
)
