"""The demo's tasks, as a stock Celery worker runs them: it knows nothing of this library.

The application is configured by two environment variables, since the worker is another process.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

__all__ = ["BACKEND_VARIABLE", "BROKER_VARIABLE", "app", "make_app"]

BROKER_VARIABLE = "BGRESULTS_DEMO_BROKER"
BACKEND_VARIABLE = "BGRESULTS_DEMO_BACKEND"


def make_app(broker: str, backend: str) -> Celery:
    """An application that is nobody's default one."""
    application = Celery("bgresults-demo", set_as_current=False)
    application.conf.update(
        broker_url=broker,
        result_backend=backend,
        task_default_queue="bgresults-demo",
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        # 64 threads send at the same time; with the default of 10 they would queue for a connection to the broker.
        broker_pool_limit=64,
    )
    return application


app = make_app(os.environ.get(BROKER_VARIABLE, "memory://"), os.environ.get(BACKEND_VARIABLE, "disabled://"))


@app.task(name="demo.add")
def add(x: int, y: int) -> int:
    """Succeed."""
    return x + y


@app.task(name="demo.price")
def price(text: str) -> float:
    """Fail, unless the text is a number."""
    return float(text)


@app.task(name="demo.rows", bind=True)
def rows(self: Any, count: int) -> int:
    """Report each step."""
    for done in range(1, count + 1):
        self.update_state(state="PROGRESS", meta={"done": done, "of": count})
        time.sleep(0.02)
    return count


@app.task(name="demo.never")
def never() -> str:
    """Be revoked before it runs."""
    return "it ran all the same"
