"""P8: replies through a message broker. What is timed is written in bgresults.benchmarking.streams."""

from __future__ import annotations

from bgresults.benchmarking import BrokerLab, BrokerQuestion, Ratio
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.pace import QUIET, Slower
from bgresults.benchmarking.replies import measure_reply_latency
from bgresults.benchmarking.reply_contenders import celery_modes

THREADS = (1, 16, 64)
# As P1's: where Celery is at its best. A reply costs it less here than a message of Redis, so it keeps up with more.
PACE = 1000
# Celery's p99 of 16 threads is 33 times the median of its single thread: 21 ms against 0.64 where the floors were set.
TAIL = Slower(33, share=99)


def measure(lab: BrokerLab) -> None:
    """Medians where Celery is at its best; the p99 where it is so much slower than with one thread."""
    single = 0.0
    for threads in THREADS:
        median = measure_reply_latency(
            lab,
            threads=threads,
            results=lab.size(PACE, PACE // 4),
            rate=PACE,
            beside=QUIET if threads == 1 else None,
            tail=TAIL if threads == 16 else None,
            single=single,
        )
        single = single or median


QUESTION = BrokerQuestion(
    title="AMQP, from publish to result(), 1, 16 and 64 waiting threads, paced",
    unit="µs",
    checks=[
        Ratio(f"{threads} threads, {label} p{share}", celery_modes(threads), floor=floor, goal=goal)
        for threads in THREADS
        for label in BODY_SIZES
        for share, floor, goal in ((50, 1.3, 1.8), (99, 4, 15))
        if share == 50 or threads == 16
    ],
    measure=measure,
)
