"""P11: memory per pending future.

What tracemalloc says is allocated for 100 000 pending futures, all subscribed and looked up, divided by their number.
The ids exist before; the list of futures is counted. For Celery: a pending ``AsyncResult`` each, subscribed; fewer of
them, since it takes a network write for each, and its two modes differ in nothing here. The first round looks at fewer
as well.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

from bgresults.benchmarking import AtMost, Chart, Lab, Question
from bgresults.benchmarking.contenders import CELERY_DEFAULT, OURS, Ours, Theirs
from bgresults.benchmarking.waiting import until_subscribed
from bgresults.benchmarking.wire import new_ids

FEWER = (1000, 10_000)
MOST, MOST_OF_CELERY = 100_000, 20_000


def measure(lab: Lab) -> None:
    """Tracing slows everything down, so nothing is timed here."""
    most, most_of_celery = lab.size(MOST, 20_000), lab.size(MOST_OF_CELERY)
    for number in lab.rounds():
        each = _ours(lab.url, most)
        lab.record("per future", OURS, each)
        lab.record(f"{most} pending", OURS, each)
        if number == 0:
            lab.record("per future", CELERY_DEFAULT, _theirs(lab.url, most_of_celery))
            for count in FEWER:
                lab.record(f"{count} pending", OURS, _ours(lab.url, count))
                lab.record(f"{count} pending", CELERY_DEFAULT, _theirs(lab.url, count))
    lab.note(f"{most} futures; {most_of_celery} of Celery's results, in the first round")


def _ours(url: str, count: int) -> float:
    contender = Ours(url, max_pending=count * 2)
    task_ids = new_ids(count)
    futures: list[object] = []

    def work() -> None:
        futures.extend(contender.watcher.watch_many(task_ids))
        until_subscribed(url, task_ids)
        # The stored values are read after that; whatever travels then is gone when the thread is at rest.
        time.sleep(1.0)

    per_future = _allocated(work) / count
    futures.clear()
    contender.close()
    return per_future


def _theirs(url: str, count: int) -> float:
    contender = Theirs(url, shared=True)
    register = contender.app.backend.add_pending_result
    kept = [register(contender.app.AsyncResult(new_ids(1)[0]))]
    task_ids = new_ids(count)
    allocated = _allocated(lambda: kept.extend(register(contender.app.AsyncResult(task_id)) for task_id in task_ids))
    contender.close()
    kept.clear()
    return allocated / count


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


QUESTION = Question(
    title="memory per pending future",
    unit="bytes",
    checks=[AtMost("per future", floor=1200, goal=700, unit="bytes")],
    measure=measure,
    charts=[
        Chart(
            name="memory",
            title="memory of a pending result, against their number",
            x="pending",
            y="bytes of each",
            logarithmic=False,
            lines={"": {count: f"{count} pending" for count in (*FEWER, MOST)}},
        )
    ],
    decimals=0,
)
