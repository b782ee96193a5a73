"""D2: P2 through the drop-in. What is timed is written in bgresults.benchmarking.streams, at which pace in …pace."""

from __future__ import annotations

from bgresults.benchmarking import Lab, Question, Ratio
from bgresults.benchmarking.contenders import CELERY, Contender, DropIn, Theirs
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.latency import measure_latency
from bgresults.benchmarking.pace import CALM, SLOWER_WITH_16


def _ways(url: str) -> list[Contender]:
    return [Theirs(url, shared=False), Theirs(url, shared=True), DropIn(url)]


def measure(lab: Lab) -> None:
    """``AsyncResult.get()`` against itself."""
    measure_latency(lab, threads=16, results=lab.size(1600, 800), pace=SLOWER_WITH_16, beside=CALM, ways=_ways)


QUESTION = Question(
    title="the drop-in: from publish to get(), 16 waiting threads, paced",
    unit="µs",
    checks=[
        Ratio(f"{label} p{share}", CELERY, floor=3, goal=goal)
        for label in BODY_SIZES
        for share, goal in ((50, 4), (99, 5))
    ],
    measure=measure,
)
