"""A response with the states of a task as server-sent events."""

from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from bgresults.sse import HEADERS, asse, saw_end, sse
from bgresults.task_ids import TaskId
from bgresults.watcher import ResultWatcher

__all__ = ["event_stream"]


def event_stream(request: HttpRequest, watcher: ResultWatcher, task_id: TaskId, **options: Any) -> HttpResponseBase:
    """Return a response that tells the states of a task as they come: ``docs/sse.md``. Never waits.

    For views of either kind, under WSGI and under ASGI. Who may see which task is for the view to decide, before.

    Args:
        request: whose answer this is. A browser that connects again says there what it has seen; if that was the
            ``end``, it is told to stop (204).
        watcher: who watches the task.
        task_id: as for :meth:`ResultWatcher.watch`.
        options: ``heartbeat``, ``retry``, ``timeout`` and ``result`` of :func:`bgresults.sse.sse`.

    Raises:
        As :func:`bgresults.sse.sse`.
    """
    # Of the Django REST framework, whose requests wrap those of Django.
    request = getattr(request, "_request", request)
    last_event_id = request.META.get("HTTP_LAST_EVENT_ID")
    if saw_end(last_event_id):
        return HttpResponse(status=204)
    # Django collects a synchronous iterator under ASGI, and an asynchronous one under WSGI, before it sends anything.
    stream = asse if isinstance(request, ASGIRequest) else sse
    # GZipMiddleware would keep small events until it has enough of them; it leaves alone what is encoded.
    headers = {**HEADERS, "Content-Encoding": "identity"}
    return StreamingHttpResponse(stream(watcher, task_id, last_event_id=last_event_id, **options), headers=headers)
