"""P1: one waiting thread. What is timed is written in bgresults.benchmarking.streams."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.latency import measure_latency
from bgresults.benchmarking.pace import BRISK, QUIET


def measure(lab: Lab) -> None:
    """Where Celery is at its best, and at a quiet pace beside it."""
    measure_latency(lab, threads=1, results=lab.size(BRISK), pace=BRISK, beside=QUIET)


QUESTION = Question(
    title="from publish to result(), 1 waiting thread, paced",
    unit="µs",
    checks=[Ratio(f"{label} p50", CELERY, floor=2, goal=3) for label in BODY_SIZES],
    measure=measure,
)
