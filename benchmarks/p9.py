"""P9: replies through a broker, as fast as they can be had. For what is timed see bgresults.benchmarking.replies."""

from __future__ import annotations

from bgresults.benchmarking import BrokerLab, BrokerQuestion, Ratio
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.replies import measure_reply_rate
from bgresults.benchmarking.reply_contenders import celery_modes


def measure(lab: BrokerLab) -> None:
    """Nobody rests: what is measured is the waiting side, the broker and the machine together."""
    for threads in (16, 64):
        measure_reply_rate(lab, threads=threads, results=lab.size(6400))


QUESTION = BrokerQuestion(
    title="AMQP, saturated, 16 and 64 waiting threads",
    unit="results/s",
    checks=[
        Ratio(f"{threads} threads, {label}", celery_modes(threads), floor=floor, goal=goal, more_is_better=True)
        for threads, floor, goal in ((16, 4, 6), (64, 5, 8))
        for label in BODY_SIZES
    ],
    measure=measure,
    decimals=0,
)
