"""P4: 10 000 results in one thread. What is timed is written in bgresults.benchmarking.many."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY, Ours, Theirs, TheirsNative
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.many import measure_many

_NATIVE = tuple(f"{name} join_native" for name in CELERY)


def measure(lab: Lab) -> None:
    """``watch_many()`` against ``get()`` one by one and against ``join_native()``."""
    contenders = [kind(lab.url, shared=shared) for kind in (Theirs, TheirsNative) for shared in (False, True)]
    measure_many(lab, [*contenders, Ours(lab.url)], threads=1, count=lab.size(10_000))


QUESTION = Question(
    title="watch and resolve 10 000 ids, 1 thread",
    unit="s",
    checks=[
        check
        for label in BODY_SIZES
        for check in (
            Ratio(label, CELERY, floor=12, goal=25, label="get()"),
            Ratio(label, _NATIVE, floor=7, goal=14, label="join_native()"),
        )
    ],
    measure=measure,
    decimals=3,
)
