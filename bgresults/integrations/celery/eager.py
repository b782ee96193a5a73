"""Futures of tasks that ran in the calling thread: ``task_always_eager``, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states

from bgresults.futures import UpdateCallback
from bgresults.integrations.celery.futures import CeleryResultFuture
from bgresults.meta import TaskMeta

if TYPE_CHECKING:
    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["finish", "finished_future"]


def finished_future(watcher: AppWatcher, result: Any, on_update: UpdateCallback | None) -> CeleryResultFuture:
    """A future that has ended as an ``EagerResult`` says."""
    future = CeleryResultFuture(str(result.id), watcher, on_update)
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
    raw = future._raw = {
        "task_id": future.task_id,
        "status": result.state,
        "result": result.result,
        "traceback": result.traceback,
    }
    on_update = future._on_update
    if on_update is not None:
        final = TaskMeta.from_raw(raw) if exception is None else TaskMeta.from_raw(raw, exception)
        future._call(lambda _: on_update(final))
    for callback in future._settle(value, exception) or []:
        future._call(callback)
