"""W1: a web server under load, whose requests send a task each and wait for its result.

gunicorn with 4 workers of 16 threads, preloaded; 64 threads of another process send requests as fast as they are
answered; a stock Celery worker does the tasks. All of it shares this machine, and most of a request is the work of web
server, broker, worker and load, which is the same for every way to wait: so here ours only has to be no worse, but for
the connections.
"""

from __future__ import annotations

from bgresults.benchmarking import Exactly, Lab, Ratio
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import CELERY
from bgresults.benchmarking.web import WebQuestion, web_contenders

WORKERS, THREADS = 4, 16


def measure(lab: Lab) -> None:
    """The servers run all the time; the contenders take turns. A first load, to warm them, is not recorded."""
    requests = lab.size(5000, 200)
    with web_contenders(lab, workers=WORKERS, threads=THREADS) as contenders:
        for contender in contenders:
            contender.serve(4 * WORKERS * THREADS, WORKERS * THREADS)
        for number in lab.rounds():
            for contender in lab.in_turn(contenders, number):
                before = contender.cpu_seconds()
                report = contender.serve(requests, WORKERS * THREADS)
                used = contender.cpu_seconds() - before
                lab.record("requests/s", contender.name, report.right / report.seconds)
                lab.record("p50, ms", contender.name, percentile(report.latencies, 50) * 1000)
                lab.record("p99, ms", contender.name, percentile(report.latencies, 99) * 1000)
                lab.record("processor time of a request, ms", contender.name, used / requests * 1000)
                lab.record("errors", contender.name, requests - report.right)
                lab.record("connections of a worker", contender.name, contender.connections(report))
    lab.note(f"{requests} requests per round and way; a worker has {THREADS} threads")


QUESTION = WebQuestion(
    title=f"gunicorn, {WORKERS} workers of {THREADS} threads, each request waits for a task",
    unit="as named",
    checks=[
        Ratio("requests/s", CELERY, floor=0.8, goal=1.2, more_is_better=True),
        Ratio("p99, ms", CELERY, floor=0.8, goal=1.2),
        Ratio("processor time of a request, ms", CELERY, floor=0.8, goal=1.2),
        Exactly("errors", 0),
        Exactly("connections of a worker", 2),
    ],
    measure=measure,
)
