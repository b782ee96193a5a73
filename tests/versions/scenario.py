"""What a web process does with its workers, and what comes of it: the same with every version on either side.

Run as a program by the interpreter of another environment: ``python -m tests.versions.scenario '{…}'`` with the
settings of the application and the name of the worker as JSON. It prints the outcomes as JSON.
"""

from __future__ import annotations

import datetime
import json
import sys
import uuid
from collections.abc import Callable
from typing import Any

import celery
import redis
from celery import Celery, chain, chord, group

import bgresults
from bgresults import ResultWatcher
from bgresults.integrations.celery import CeleryResultWatcher, GroupFutures
from tests.support import wait_until
from tests.support.tasks import make_app
from tests.support.workers import close_app

__all__ = ["EXPECTED", "play"]

WAIT = 30
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)

#: Name → value; or of an exception its class, its arguments, and whether the worker's traceback came along.
EXPECTED: dict[str, Any] = {
    "value": 5,
    "unicode": {"ü": ["é", None, 1.5]},
    "large": "x" * 300_000,
    "retried": "late",
    "states": [["PROGRESS", {"done": 1, "of": 2}], ["PROGRESS", {"done": 2, "of": 2}], ["SUCCESS", 2]],
    "builtin exception": ["builtins.KeyError", ["k"], True],
    "custom exception": ["tests.support.failures.CustomError", ["x", 1], True],
    "nested exception": ["tests.support.failures.Outer.InnerError", [], True],
    "unpicklable exception": ["tests.support.failures.UnpicklableError", ["u"], True],
    "unknown task": ["celery.exceptions.NotRegistered", ["no such task"], False],
    "revoked": ["bgresults.errors.TaskRevokedError", ["revoked"], False],
    "expired": ["bgresults.errors.TaskRevokedError", ["expired"], False],
    "chain": 10,
    "chain that fails": ["builtins.ValueError", ["first"], True],
    "chain that fails before a group": ["builtins.ValueError", ["first"], True],
    "chain whose first expired": ["bgresults.errors.TaskRevokedError", ["expired"], False],
    "group": [3, "x"],
    "nested group": [1, 2, 3],
    "group that fails": ["builtins.ValueError", ["one"], True],
    "chord": [3, 7],
    "chord that fails": ["builtins.ValueError", ["head"], True],
    "replaced": "new",
    "watched": 3,
}


def play(settings: dict[str, Any], worker_name: str) -> dict[str, Any]:
    """Play all of it against a running worker; returns what :data:`EXPECTED` has.

    Args:
        settings: of the application.
        worker_name: of the worker, to revoke tasks there and nowhere else.
    """
    app = make_app(settings)
    with ResultWatcher.from_celery(app) as watcher:
        assert isinstance(watcher, CeleryResultWatcher)
        outcomes = {"states": _states(watcher)}
        for name, send in _sends(app, watcher, worker_name).items():
            outcomes[name] = _outcome(lambda: send().result(WAIT))  # noqa: B023 - called at once
    close_app(app)
    return outcomes


def _sends(app: Celery, watcher: CeleryResultWatcher, worker_name: str) -> dict[str, Callable[[], Any]]:
    def s(name: str, *args: Any, **options: Any) -> Any:
        return app.signature(name, args, app=app).set(**options)

    def revoked() -> Any:
        task_id = str(uuid.uuid4())
        app.control.revoke(task_id, destination=[worker_name])
        return watcher.submit("echo", (1,), task_id=task_id, countdown=0.5)

    def chained(*steps: Any) -> Any:
        return watcher.submit(chain(*steps, app=app))

    def grouped(*members: Any) -> Any:
        return watcher.submit(group(*members, app=app))

    def failing_chord() -> Any:
        futures = watcher.submit(chord([s("echo", 1), fails("ValueError", "head")], s("echo"), app=app))
        assert isinstance(futures, GroupFutures)
        assert futures.exception(WAIT) is not None
        return futures[1]

    def fails(*args: Any) -> Any:
        return s("fail", *args)

    return {
        "value": lambda: watcher.submit("add", (2, 3)),
        "unicode": lambda: watcher.submit("echo", ({"ü": ["é", None, 1.5]},)),
        "large": lambda: watcher.submit("big", (300_000,)),
        "retried": lambda: watcher.submit("retry_once", ("late",)),
        "builtin exception": lambda: watcher.submit(fails("KeyError", "k")),
        "custom exception": lambda: watcher.submit(fails("CustomError", "x", 1)),
        "nested exception": lambda: watcher.submit(fails("Outer.InnerError")),
        "unpicklable exception": lambda: watcher.submit(fails("UnpicklableError", "u")),
        "unknown task": lambda: watcher.submit("no such task"),
        "revoked": revoked,
        "expired": lambda: watcher.submit("echo", (1,), expires=PAST),
        "chain": lambda: chained(s("add", 1, 2), s("add", 3), s("add", 4)),
        "chain that fails": lambda: chained(fails("ValueError", "first"), s("add", 1), s("add", 2)),
        "chain that fails before a group": lambda: chained(
            fails("ValueError", "first"), group(s("add", 1), s("add", 2), app=app), s("echo")
        ),
        "chain whose first expired": lambda: chained(s("add", 1, 2, expires=PAST), s("add", 3)),
        "group": lambda: grouped(s("add", 1, 2), s("echo", "x")),
        "nested group": lambda: grouped(s("echo", 1), group(s("echo", 2), s("echo", 3), app=app)),
        "group that fails": lambda: grouped(s("echo", 1), fails("ValueError", "one")),
        "chord": lambda: watcher.submit(chord([s("add", 1, 2), s("add", 3, 4)], s("echo"), app=app)),
        "chord that fails": failing_chord,
        "replaced": lambda: watcher.submit("replaced", ("echo", "new")),
        "watched": lambda: watcher.watch(s("add", 1, 2).apply_async()),
    }


def _states(watcher: CeleryResultWatcher) -> list[list[Any]]:
    """All states of a task that reports its progress; watched before it is sent, so that none is missed."""
    task_id = str(uuid.uuid4())
    states = watcher.updates(task_id, timeout=WAIT)
    wait_until(lambda: watcher.stats().subscribed and watcher.stats().state == "draining", "the subscription")
    watcher.submit("progress", (2,), {"pause": 0.05}, task_id=task_id).result(WAIT)
    return [[state.status, state.result] for state in states]


def _outcome(wait: Callable[[], Any]) -> Any:
    try:
        return wait()
    except Exception as error:
        cls = type(error)
        return [f"{cls.__module__}.{cls.__qualname__}", list(error.args), "Traceback" in str(error.__cause__)]


def _main() -> None:
    given = json.loads(sys.argv[1])
    outcomes = play(given["settings"], given["worker"])
    versions = {"celery": celery.__version__, "redis": redis.__version__, "bgresults": bgresults.__file__}
    json.dump({"versions": versions, "outcomes": outcomes}, sys.stdout)


if __name__ == "__main__":
    _main()
