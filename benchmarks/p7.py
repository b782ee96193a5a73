"""P7: what ``watch()`` costs the calling thread, in a burst of 10 000.

Timed is the loop of calls alone, with the watcher connected and the drain thread subscribing meanwhile, which takes its
share of the GIL as it would in an application. Nothing is published. Celery's nearest call registers an ``AsyncResult``
and subscribes it, as ``apply_async()`` does for each task that is sent.

That no call does network I/O is asserted apart from the timing: a profile function sees every call of a C function in
the calling thread, and counts those of sockets other than the wake-up's local pair.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from bgresults.benchmarking import AtMost, Exactly, Lab, Question
from bgresults.benchmarking.contenders import CELERY_DEFAULT, CELERY_SHARED, OURS, Ours, Theirs
from bgresults.benchmarking.wire import new_ids

COUNT = 10_000


def measure(lab: Lab) -> None:
    """One call after the other; the futures are kept."""
    count = lab.size(COUNT, COUNT)
    for number in lab.rounds():
        for measure_one in lab.in_turn([_ours, _theirs], number):
            measure_one(lab, count)
    lab.note(f"a burst of {count} calls; watch_many: one call for all of them, per id")


def _ours(lab: Lab, count: int) -> None:
    for metric, many in (("watch", False), ("watch_many", True)):
        contender = Ours(lab.url, max_pending=count * 2)
        task_ids = new_ids(count)
        watch = contender.watcher.watch
        with lab.measuring():
            started = time.perf_counter()
            futures = contender.watcher.watch_many(task_ids) if many else [watch(task_id) for task_id in task_ids]
            taken = time.perf_counter() - started
        lab.record(metric, OURS, taken / count * 1e6)
        if not many:
            lab.record("network calls", OURS, _network_calls(watch, new_ids(1000)))
        del futures
        contender.close()


def _theirs(lab: Lab, count: int) -> None:
    for shared, name in ((False, CELERY_DEFAULT), (True, CELERY_SHARED)):
        contender = Theirs(lab.url, shared=shared)
        register = contender.app.backend.add_pending_result
        # The first one connects.
        kept = [register(contender.app.AsyncResult(new_ids(1)[0]))]
        task_ids = new_ids(count)
        with lab.measuring():
            started = time.perf_counter()
            kept += [register(contender.app.AsyncResult(task_id)) for task_id in task_ids]
            taken = time.perf_counter() - started
        lab.record("watch", name, taken / count * 1e6)
        contender.close()
        kept.clear()


def _network_calls(watch: Callable[[str], object], task_ids: list[str]) -> int:
    """How many methods of network sockets the calling thread called while it watched these tasks."""
    calls = 0

    def hook(_frame: FrameType, event: str, what: Any) -> None:
        nonlocal calls
        target = getattr(what, "__self__", None)
        if event == "c_call" and isinstance(target, socket.SocketType):
            calls += target.family in (socket.AF_INET, socket.AF_INET6)

    sys.setprofile(hook)
    try:
        for task_id in task_ids:
            watch(task_id)
    finally:
        sys.setprofile(None)
    return calls


QUESTION = Question(
    title="watch() in the calling thread, in a burst of 10 000",
    unit="µs",
    checks=[AtMost("watch", floor=15, goal=5, unit="µs"), Exactly("network calls", 0)],
    measure=measure,
)
