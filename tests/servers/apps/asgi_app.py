"""An ASGI application without a framework, which awaits results."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from bgresults import ResultWatcher
from bgresults.sse import HEADERS, asse, saw_end
from tests.support.tasks import app as celery_app

watcher = ResultWatcher.from_celery(celery_app)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def send_events(scope: Scope, receive: Receive, send: Send) -> None:
    """``/events/<id>``: until the task ends, or the client leaves."""
    last_event_id = dict(scope["headers"]).get(b"last-event-id")
    query = parse_qs(scope["query_string"].decode())
    if saw_end(last_event_id):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    task_id = scope["path"].removeprefix("/events/")
    heartbeat = float(query.get("heartbeat", ["15"])[0])
    stream = asse(watcher, task_id, last_event_id=last_event_id, heartbeat=heartbeat)
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def forward() -> None:
        async for chunk in stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def until_left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(forward()), asyncio.create_task(until_left())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """``/add?x=…&y=…`` and ``/events/<id>``; everything else says who it is."""
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    if scope["path"].startswith("/events/"):
        await send_events(scope, receive, send)
        return
    answer: dict[str, Any] = {"pid": os.getpid()}
    if scope["path"] == "/add":
        query = parse_qs(scope["query_string"].decode())
        numbers = (int(query["x"][0]), int(query["y"][0]))
        future: Any = await asyncio.to_thread(watcher.submit, "add", numbers)
        answer["value"] = await asyncio.wait_for(asyncio.wrap_future(future), timeout=25)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
