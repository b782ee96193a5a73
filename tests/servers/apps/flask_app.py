"""A Flask application as its users write it, with a few views that tell a test what goes on inside.

Its Celery application is that of :mod:`tests.support.tasks`, which the environment configures.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, request

from bgresults import BgResultsError
from bgresults.integrations.flask import BgResults, event_stream

results = BgResults()


def create_app() -> Flask:
    """A new one."""
    made = Flask(__name__)
    made.config["BGRESULTS_CELERY_APP"] = "tests.support.tasks:app"
    results.init_app(made)

    @made.get("/")
    def root() -> dict[str, Any]:
        return {"pid": os.getpid()}

    @made.get("/add")
    def add() -> dict[str, Any]:
        future = results.submit("add", (request.args.get("x", 0, int), request.args.get("y", 0, int)))
        return {"value": future.result(timeout=25), "pid": os.getpid()}

    @made.get("/wait/<task_id>")
    def wait(task_id: str) -> tuple[dict[str, Any], int]:
        try:
            value = results.watch(task_id).result(request.args.get("timeout", 25.0, float))
        except TimeoutError:
            return {"state": "pending", "pid": os.getpid()}, 202
        except BgResultsError as error:
            return {"error": type(error).__name__, "pid": os.getpid()}, 500
        return {"value": value, "pid": os.getpid()}, 200

    @made.get("/events/<task_id>")
    def events(task_id: str) -> Response:
        return event_stream(request, results, task_id, heartbeat=request.args.get("heartbeat", 15.0, float))

    @made.get("/state")
    def state() -> dict[str, Any]:
        monkey = sys.modules.get("gevent.monkey")
        return {
            "pid": os.getpid(),
            "stats": asdict(results.watcher.stats()),
            "threads": [thread.name for thread in threading.enumerate()],
            "greenlets": monkey is not None and monkey.is_module_patched("threading"),
        }

    return made


app = create_app()
if os.environ.get("BGRESULTS_TEST_WARM"):
    # In a parent that will fork: the worst moment to have a thread, and connections.
    app.extensions["bgresults"].watcher.wait_ready(10)
