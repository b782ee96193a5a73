"""A stock Celery application: the worker's side of the tests.

Configured through one environment variable, BGRESULTS_TEST_CELERY: a JSON object of Celery settings.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import json
import os
import signal
import threading
import time
import uuid
from typing import Any

import celery
from celery import Celery, chain, group
from celery.result import allow_join_result

from tests.support import failures, values

__all__ = ["ENVIRONMENT_VARIABLE", "adding_chain", "app", "make_app"]

ENVIRONMENT_VARIABLE = "BGRESULTS_TEST_CELERY"


def make_app(settings: dict[str, Any]) -> Celery:
    """An application that is nobody's default one, so that tests do not meet through Celery's globals."""
    application = Celery("bgresults-tests", set_as_current=False)
    application.conf.update(settings)
    return application


app = make_app(json.loads(os.environ.get(ENVIRONMENT_VARIABLE, "{}")))


@app.task(name="add")
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task(name="echo")
def echo(value: Any) -> Any:
    return value


@app.task(name="fail")
def fail(kind: str = "ValueError", *args: Any) -> None:
    """Raise a class of :mod:`tests.support.failures` (``"Outer.InnerError"`` too), or a builtin one."""
    found: Any = failures if hasattr(failures, kind.partition(".")[0]) else builtins
    for name in kind.split("."):
        found = getattr(found, name)
    raise found(*args)


@app.task(name="fail_unseen")
def fail_unseen(*args: Any) -> None:
    """Raise a class of a module that no other process has loaded."""
    from tests.support.unseen import UnseenError

    raise UnseenError(*args)


@app.task(name="sleep")
def sleep(seconds: float, value: Any = None) -> Any:
    """In one piece: a revoke with terminate=True has to kill it."""
    time.sleep(seconds)
    return value


@app.task(name="sleep_in_steps")
def sleep_in_steps(seconds: float, value: Any = None) -> Any:
    """Lets a soft time limit or a signal through every 10 ms."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return value


@app.task(name="progress", bind=True)
def progress(self: Any, n: int, pause: float = 0.0) -> int:
    """States PROGRESS {"done": 1, "of": n} … {"done": n, "of": n}, then n."""
    for done in range(1, n + 1):
        self.update_state(state="PROGRESS", meta={"done": done, "of": n})
        time.sleep(pause)
    return n


@app.task(name="retry_once", bind=True, max_retries=1)
def retry_once(self: Any, value: Any) -> Any:
    """State RETRY, and half a second later the value."""
    if self.request.retries == 0:
        raise self.retry(countdown=0.5, exc=ConnectionError("not yet"))
    return value


@app.task(name="give_up", bind=True, max_retries=1)
def give_up(self: Any, kind: str | None = None) -> None:
    """Try twice; end with that builtin exception, or with Celery's own for it."""
    exc = None if kind is None else getattr(builtins, kind)("given up")
    raise self.retry(countdown=0.05, exc=exc)


@app.task(name="replaced", bind=True)
def replaced(self: Any, how: str, *args: Any) -> None:
    """Let something else run under this id: a task of that name, or a chain or a group of two of it."""
    name, _, shape = how.partition(" in a ")
    signature = self.app.signature(name, args, app=self.app)
    if shape == "group":
        signature = group(signature, signature.clone(), app=self.app)
    elif shape == "chain":
        signature = chain(signature, self.app.signature("echo", app=self.app), app=self.app)
    raise self.replace(signature)


@app.task(name="send_another", bind=True)
def send_another(self: Any, value: Any) -> Any:
    """Its value is a task: the ``AsyncResult`` of an ``echo`` that it has sent."""
    return self.app.signature("echo", (value,), app=self.app).apply_async()


@app.task(name="made")
def made(what: str) -> Any:
    """A value of :mod:`tests.support.values`, which may not be one that travels as an argument."""
    return values.MADE[what]()


@app.task(name="pair")
def pair(first: Any, second: Any = None, *, last: Any = None) -> list[Any]:
    """Its arguments, in order."""
    return [first, second, last]


@app.task(name="celery_version")
def celery_version() -> str:
    """Of the worker."""
    return str(celery.__version__)


@app.task(name="die")
def die(with_signal: bool = True) -> None:
    """End the pool process that runs it."""
    if with_signal:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


@app.task(name="big")
def big(size: int) -> str:
    return "x" * size


@app.task(name="typed")
def typed() -> dict[str, Any]:
    """Values that kombu's JSON carries as such."""
    return {
        "datetime": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    }


@app.task(name="nothing", ignore_result=True)
def nothing() -> None:
    """Its result is never written."""


@app.task(name="pid")
def pid() -> int:
    """Of the pool process that ran it."""
    return os.getpid()


def adding_chain(application: Celery, first: int, *others: int) -> Any:
    """``first + others[0] + …``, one ``add`` task each; needs at least one other."""
    head, *tail = others
    steps = [application.signature("add", (first, head), app=application)]
    steps += [application.signature("add", (number,), app=application) for number in tail]
    return chain(*steps, app=application)


@app.task(name="total")
def total(numbers: Any) -> Any:
    return sum(numbers)


@app.task(name="wait_for_another", bind=True)
def wait_for_another(self: Any, queue: str) -> Any:
    """Send ``sleep`` to ``queue`` and wait for it; its value, between the library's threads before and after."""

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("bgresults")]

    sent = self.app.signature("sleep", (0.3, "slept"), app=self.app).apply_async(queue=queue)
    before = threads()
    with allow_join_result():
        return before, sent.get(timeout=20), threads()
