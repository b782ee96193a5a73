"""The web application of W1, and the Celery application behind it; a worker imports this module too.

``GET /?x=…&y=…`` sends a task that adds the two and answers with its result. How it waits for that is what is compared:
``BGRESULTS_BENCHMARK_WEB`` is a JSON object with the URLs of the ``broker`` and the ``backend``, and with the ``way``,
the name of a contender.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from celery import Celery

from bgresults import ResultWatcher
from bgresults.benchmarking.contenders import CELERY_SHARED, OURS

__all__ = ["ENVIRONMENT_VARIABLE", "app", "application"]

ENVIRONMENT_VARIABLE = "BGRESULTS_BENCHMARK_WEB"
# Seconds.
_PATIENCE = 20

_settings = json.loads(os.environ.get(ENVIRONMENT_VARIABLE, "{}"))

app = Celery("bgresults-benchmark", set_as_current=False)
app.conf.update(
    broker_url=_settings.get("broker", "memory://"),
    result_backend=_settings.get("backend"),
    result_backend_thread_safe=_settings.get("way") == CELERY_SHARED,
    # Nobody shall wait for a connection to the broker: 16 threads, and Celery's pool has 10.
    broker_pool_limit=20,
    # redis-py's pool has room for 100, and threads that share one fail with MaxConnectionsError.
    redis_max_connections=10_000,
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
)


def _add(x: int, y: int) -> int:
    """What the worker has to do is next to nothing."""
    return x + y


# Celery has no types. And without `shared` every other application of this process would have the task as well.
add: Any = app.task(name="add", shared=False)(_add)


def _with_watcher(x: int, y: int) -> Any:
    return ResultWatcher.from_celery(app).submit(add, (x, y)).result(timeout=_PATIENCE)


def _with_get(x: int, y: int) -> Any:
    return add.delay(x, y).get(timeout=_PATIENCE)


_wait: Callable[[int, int], Any] = _with_watcher if _settings.get("way") == OURS else _with_get


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI. Without a query it says that it is there."""
    query = parse_qs(environ["QUERY_STRING"])
    answer: dict[str, Any] = {"pid": os.getpid()}
    if query:
        answer["value"] = _wait(int(query["x"][0]), int(query["y"][0]))
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
