"""P2: 16 waiting threads. What is timed is written in bgresults.benchmarking.streams, at which pace in …pace."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.latency import measure_latency
from bgresults.benchmarking.pace import CALM, SLOWER_WITH_16


def measure(lab: Lab) -> None:
    """At the pace that makes Celery so much slower, whatever the machine, and at a calm one beside it."""
    measure_latency(lab, threads=16, results=lab.size(1600), pace=SLOWER_WITH_16, beside=CALM)


QUESTION = Question(
    title="from publish to result(), 16 waiting threads, paced",
    unit="µs",
    checks=[
        check
        for label in BODY_SIZES
        for check in (
            Ratio(f"{label} p50", CELERY, floor=4, goal=6),
            Ratio(f"{label} p99", CELERY, floor=5, goal=10),
        )
    ],
    measure=measure,
)
