"""P11: memory per pending future.

What tracemalloc says is allocated for 100 000 pending futures, all subscribed and looked up, divided by their number.
The ids exist before; the list of futures is counted. For Celery: a pending ``AsyncResult`` each, subscribed; fewer of
them, since it takes a network write for each, and its two modes differ in nothing here.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

from bgresults.benchmarking import AtMost, Lab, Question
from bgresults.benchmarking.contenders import CELERY_DEFAULT, OURS, Ours, Theirs
from bgresults.benchmarking.wire import new_ids


def measure(lab: Lab) -> None:
    """Tracing slows everything down, so nothing is timed here."""
    for number in lab.rounds():
        for measure_one in lab.in_turn([_ours, _theirs], number):
            measure_one(lab)


def _ours(lab: Lab) -> None:
    count = lab.size(100_000, 20_000)
    contender = Ours(lab.url, max_pending=count * 2)
    task_ids = new_ids(count)
    futures = []

    def work() -> None:
        futures.extend(contender.watcher.watch_many(task_ids))
        _until(lambda: contender.watcher.stats().subscribed == count)
        # Subscribed is what was asked for; whatever travels with the asking is gone when the thread is at rest.
        time.sleep(1.0)

    lab.record("per future", OURS, _allocated(work) / count)
    lab.note(f"{count} futures; {lab.size(20_000)} of Celery's results")
    futures.clear()
    contender.close()


def _theirs(lab: Lab) -> None:
    count = lab.size(20_000)
    contender = Theirs(lab.url, shared=True)
    register = contender.app.backend.add_pending_result
    kept = [register(contender.app.AsyncResult(new_ids(1)[0]))]
    task_ids = new_ids(count)
    allocated = _allocated(lambda: kept.extend(register(contender.app.AsyncResult(task_id)) for task_id in task_ids))
    lab.record("per future", CELERY_DEFAULT, allocated / count)
    contender.close()
    kept.clear()


def _allocated(work: Callable[[], None]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the futures were not subscribed in time")
        time.sleep(0.05)


QUESTION = Question(
    title="memory per pending future",
    unit="bytes",
    checks=[AtMost("per future", floor=1200, goal=700, unit="bytes")],
    measure=measure,
    decimals=0,
)
