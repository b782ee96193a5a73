"""The states of a task as server-sent events, which a browser reads with ``EventSource``.

.. code-block:: python

    from bgresults.sse import HEADERS, asse, sse

    # Django under WSGI, and Flask's Response likewise:
    StreamingHttpResponse(sse(watcher, task_id, last_event_id=request.headers.get("Last-Event-ID")), headers=HEADERS)
    # Django under ASGI, Starlette and whatever else takes an asynchronous iterator of bytes:
    StreamingHttpResponse(asse(watcher, task_id, last_event_id=request.headers.get("Last-Event-ID")), headers=HEADERS)

``event_stream()`` of :mod:`bgresults.integrations.django` and :mod:`bgresults.integrations.flask` does that for you.
What is sent, and what web servers and proxies have to be told: ``docs/sse.md``.
"""

from bgresults.sse.async_stream import AsyncEventStream, asse
from bgresults.sse.framing import HEADERS
from bgresults.sse.outcomes import plain_result
from bgresults.sse.script import saw_end
from bgresults.sse.stream import EventStream, sse

__all__ = ["HEADERS", "AsyncEventStream", "EventStream", "asse", "plain_result", "saw_end", "sse"]
