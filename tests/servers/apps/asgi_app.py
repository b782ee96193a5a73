"""An ASGI application without a framework, which awaits results."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from bgresults import ResultWatcher
from tests.support.tasks import app as celery_app

watcher = ResultWatcher.from_celery(celery_app)


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """``/add?x=…&y=…``; everything else says who it is."""
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    answer: dict[str, Any] = {"pid": os.getpid()}
    if scope["path"] == "/add":
        query = parse_qs(scope["query_string"].decode())
        numbers = (int(query["x"][0]), int(query["y"][0]))
        future: Any = await asyncio.to_thread(watcher.submit, "add", numbers)
        answer["value"] = await asyncio.wait_for(asyncio.wrap_future(future), timeout=25)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
