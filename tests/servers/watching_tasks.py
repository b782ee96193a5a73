"""A Celery application whose tasks watch other tasks, in the children of a prefork pool.

The parent uses the watcher as well, before it forks: the worst that can happen.
"""

from __future__ import annotations

import os
from typing import Any

from bgresults import ResultWatcher
from tests.support.tasks import app

watcher = ResultWatcher(os.environ["BGRESULTS_TEST_BACKEND"])
in_parent = watcher.watch("nobody has this id")
watcher.wait_ready(10)


@app.task(name="collect")
def collect(task_ids: list[str]) -> list[Any]:
    """The results of other tasks, in order."""
    return [future.result(timeout=20) for future in watcher.watch_many(task_ids)]


@app.task(name="who")
def who() -> list[Any]:
    """This process, and how its watcher and its parent's future are."""
    return [os.getpid(), watcher.stats().state, type(in_parent.exception(0)).__name__]
