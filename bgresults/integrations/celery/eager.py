"""Futures of tasks that ran in the calling thread: ``task_always_eager``, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states

from bgresults.integrations.celery.futures import CeleryResultFuture

if TYPE_CHECKING:
    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["finish", "finished_future"]


def finished_future(watcher: AppWatcher, result: Any) -> CeleryResultFuture:
    """A future that has ended as an ``EagerResult`` says."""
    future = CeleryResultFuture(str(result.id), watcher)
    finish(future, result)
    return future


def finish(future: CeleryResultFuture, result: Any) -> None:
    """End a future as an ``EagerResult`` says; in this thread, callbacks included."""
    value: Any = result.result
    exception: Exception | None = None
    if result.state in states.PROPAGATE_STATES:
        # What Celery's own get() raises.
        exception = value if isinstance(value, Exception) else Exception(value)
        value = None
    future._raw = {
        "task_id": future.task_id,
        "status": result.state,
        "result": result.result,
        "traceback": result.traceback,
    }
    for callback in future._settle(value, exception) or []:
        future._call(callback)
