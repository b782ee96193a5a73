"""P8: replies through a message broker. What is timed is written in bgresults.benchmarking.streams."""

from __future__ import annotations

from bgresults.benchmarking import BrokerLab, BrokerQuestion, Ratio
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.pace import Slower
from bgresults.benchmarking.replies import measure_reply_latency
from bgresults.benchmarking.reply_contenders import celery_modes

# Threads → results per second, and results per round.
STREAMS = {1: (200, 200), 16: (400, 400), 64: (400, 400)}
# Celery's p99 of 16 threads is 33 times the median of its single thread: 21 ms against 0.64 where the floors were set.
TAIL = Slower(33, share=99)


def measure(lab: BrokerLab) -> None:
    """Medians at a pace at which Celery keeps up, one thread as in P1; the p99 where Celery's is so much slower."""
    single = 0.0
    for threads, (rate, results) in STREAMS.items():
        median = measure_reply_latency(
            lab,
            threads=threads,
            results=lab.size(results, results // 2),
            rate=rate,
            tail=TAIL if threads == 16 else None,
            single=single,
        )
        single = single or median


QUESTION = BrokerQuestion(
    title="AMQP, from publish to result(), 1, 16 and 64 waiting threads, paced",
    unit="µs",
    checks=[
        Ratio(f"{threads} threads, {label} p{share}", celery_modes(threads), floor=floor, goal=goal)
        for threads in STREAMS
        for label in BODY_SIZES
        for share, floor, goal in ((50, 1.3, 1.8), (99, 4, 15))
        if share == 50 or threads == 16
    ],
    measure=measure,
)
