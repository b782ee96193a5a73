"""P4b: 10 000 results in 64 threads. What is timed is written in bgresults.benchmarking.many."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY, CELERY_DEFAULT, OURS, OursOneByOne, all_of
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.many import elapsed, measure_many


def measure(lab: Lab) -> None:
    """Each thread has its share: ``watch_many()`` against ``get()`` one by one; ``watch(id).result()`` beside it."""
    measure_many(
        lab, [*all_of(lab.url), OursOneByOne(lab.url)], threads=64, count=lab.size(10_000, 1500), stored=[OURS]
    )


QUESTION = Question(
    title="watch and resolve 10 000 ids, 64 threads",
    unit="s",
    checks=[
        check
        for label in BODY_SIZES
        for check in (
            Ratio(label, (CELERY_DEFAULT,), floor=10, goal=25, label="default mode"),
            Ratio(label, CELERY, floor=4, goal=8, label="best mode"),
        )
    ],
    measure=measure,
    shows=elapsed,
    decimals=3,
)
