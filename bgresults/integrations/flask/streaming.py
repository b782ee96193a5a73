"""A response with the states of a task as server-sent events."""

from __future__ import annotations

from typing import Any

from flask import Request, Response

from bgresults.integrations.flask.application import ApplicationResults
from bgresults.integrations.flask.extension import BgResults
from bgresults.sse import HEADERS, saw_end, sse
from bgresults.task_ids import TaskId
from bgresults.watcher import ResultWatcher

__all__ = ["event_stream"]


def event_stream(
    request: Request, watcher: ResultWatcher | BgResults | ApplicationResults, task_id: TaskId, **options: Any
) -> Response:
    """Return a response that tells the states of a task as they come: ``docs/sse.md``. Never waits.

    Who may see which task is for the view to decide, before.

    Args:
        request: whose answer this is. A browser that connects again says there what it has seen; if that was the
            ``end``, it is told to stop (204).
        watcher: who watches the task; the extension stands for its watcher.
        task_id: as for :meth:`ResultWatcher.watch`.
        options: ``heartbeat``, ``retry``, ``timeout`` and ``result`` of :func:`bgresults.sse.sse`.

    Raises:
        As :func:`bgresults.sse.sse`.
    """
    last_event_id = request.headers.get("Last-Event-ID")
    if saw_end(last_event_id):
        return Response(status=204)
    if isinstance(watcher, (BgResults, ApplicationResults)):
        watcher = watcher.watcher
    return Response(sse(watcher, task_id, last_event_id=last_event_id, **options), headers=dict(HEADERS))
