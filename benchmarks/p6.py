"""P6: the processor time of a result, measured by P4. What counts is written in bgresults.benchmarking.many."""

from __future__ import annotations

from bgresults.benchmarking import Question, Ratio
from bgresults.benchmarking.contenders import CELERY, CELERY_NATIVE
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.many import elapsed, measure_one_thread, processor_time

QUESTION = Question(
    title="processor time of a result, as in P4",
    unit="µs",
    # The better of all of Celery's ways, join_native() among them.
    checks=[Ratio(processor_time(label), (*CELERY, *CELERY_NATIVE), floor=7, goal=20) for label in BODY_SIZES],
    measure=measure_one_thread,
    shows=lambda metric: not elapsed(metric),
)
