"""P3: 256 waiting threads. What is timed is written in bgresults.benchmarking.streams, at which pace in …pace."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.latency import measure_latency
from bgresults.benchmarking.pace import CALM, Slower

# Celery's median of this row is 25 times that of its single thread: 11.5 ms against 465 µs where the floors were set.
SLOWER = Slower(25)


def measure(lab: Lab) -> None:
    """At the pace that makes Celery so much slower, whatever the machine, and at a calm one beside it."""
    measure_latency(lab, threads=256, results=lab.size(1536), pace=SLOWER, beside=CALM)


QUESTION = Question(
    title="from publish to result(), 256 waiting threads, paced",
    unit="µs",
    checks=[
        check
        for label in BODY_SIZES
        for check in (
            Ratio(f"{label} p50", CELERY, floor=30, goal=70),
            Ratio(f"{label} p99", CELERY, floor=10, goal=50),
        )
    ],
    measure=measure,
)
