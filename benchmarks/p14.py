"""P14: ``result(timeout=0.05)`` on a task that never ends: when does it come back?

20 calls in a row, each with a task of its own; the slowest one is judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bgresults.benchmarking import AtMost, Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import OURS, Ours, Theirs
from bgresults.benchmarking.wire import new_ids

TIMEOUT = 0.05


def measure(lab: Lab) -> None:
    """Celery's calls take a second each and are not judged: a few, in the first round."""
    ours = Ours(lab.url)
    theirs = [Theirs(lab.url, shared=shared) for shared in (False, True)]
    waits: list[tuple[str, int, Callable[[str], Any]]] = [
        (OURS, 20, lambda task_id: ours.watcher.watch(task_id).result(TIMEOUT))
    ]
    for each in theirs:
        waits.append((each.name, 3, partial(_get, each.app)))
    for number in lab.rounds():
        for name, calls, wait in waits if number == 0 and not lab.quick else waits[:1]:
            with lab.measuring():
                taken = [_timed(wait, task_id) for task_id in new_ids(calls)]
            lab.record("median", name, percentile(taken, 50) * 1000)
            lab.record("slowest", name, max(taken) * 1000)
    ours.close()
    for each in theirs:
        each.close()
    lab.note("20 calls per round; 3 of Celery's, in the first one")


def _get(app: Any, task_id: str) -> Any:
    return app.AsyncResult(task_id).get(timeout=TIMEOUT)


def _timed(wait: Callable[[str], Any], task_id: str) -> float:
    started = time.monotonic()
    try:
        wait(task_id)
    except Exception as error:  # Celery has a TimeoutError of its own.
        if type(error).__name__ != "TimeoutError":
            raise
        return time.monotonic() - started
    raise RuntimeError("a result came for a task that never ends")


QUESTION = Question(
    title="result(timeout=0.05) on a task that never ends",
    unit="ms",
    checks=[AtMost("slowest", floor=70, goal=55, unit="ms")],
    measure=measure,
)
