"""P3: 256 waiting threads. What is timed is written in bgresults.benchmarking.latency."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.latency import measure_latency


def measure(lab: Lab) -> None:
    """1000 results a second, and 400 beside it."""
    measure_latency(lab, threads=256, per_thread=lab.size(8, 4), rate=1000, calm_rate=400)


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
