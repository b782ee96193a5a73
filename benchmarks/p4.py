"""P4: 10 000 results in one thread. What is timed is written in bgresults.benchmarking.many."""

from __future__ import annotations

from bgresults.benchmarking import Question, Ratio
from bgresults.benchmarking.contenders import CELERY, CELERY_NATIVE
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.many import elapsed, measure_one_thread

QUESTION = Question(
    title="watch and resolve 10 000 ids, 1 thread",
    unit="s",
    checks=[
        check
        for label in BODY_SIZES
        for check in (
            Ratio(label, CELERY, floor=12, goal=25, label="get()"),
            Ratio(label, CELERY_NATIVE, floor=7, goal=14, label="join_native()"),
        )
    ],
    measure=measure_one_thread,
    shows=elapsed,
    decimals=3,
)
