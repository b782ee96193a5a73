"""The rows of the table in ``test_same_as_get``: what is sent, and where our outcome is to differ from Celery's."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import celery
from celery import Celery

from bgresults import ResultDecodeError, TaskFailedError
from tests.support import failures, values, wait_until
from tests.support.workers import TaskWorker, WorkerPool

__all__ = ["EXCEPTIONS", "ROWS", "SERIALIZERS", "VALUES", "Canvas", "Difference", "Row", "Scene"]

SERIALIZERS = ("json", "pickle", "msgpack", "yaml", "json gzip")
JSON_LIKE = ("json", "msgpack", "yaml", "json gzip")


class Canvas:
    """Signatures of one application: ``s(name, *args, **options)``, and what is made of them."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.signature(name, args, app=self.app).set(**options)

    def chain(self, *steps: Any) -> Any:
        return celery.chain(*steps, app=self.app)

    def group(self, *members: Any) -> Any:
        return celery.group(*members, app=self.app)

    def chord(self, header: list[Any], body: Any) -> Any:
        return celery.chord(header, body, app=self.app)


@dataclass(frozen=True)
class Scene:
    """Where a row is played."""

    app: Celery
    worker: TaskWorker
    worker_for: WorkerPool
    task_id: str


@dataclass(frozen=True)
class Difference:
    """How our exception differs from what ``get()`` raises, and why; ``args`` of None are not looked at."""

    why: str
    kind: type[Exception]
    args: tuple[Any, ...] | None
    serializers: tuple[str, ...] = SERIALIZERS


@dataclass(frozen=True)
class Row:
    """One kind of task.

    Attributes:
        name: of the row.
        task: what is sent: made of a :class:`Canvas`, or a task's name.
        args, kwargs, options: of ``submit()``.
        serializers: that this row makes sense with.
        differs: only where ours is another exception.
        slow: whether it is left out of a quick run.
        chord_fails: whether ours may be a ``ChordError`` that quotes it, where the member's own is heard of too late.
        worker_subscribes: whether a worker sends groups, and so subscribes to their results, for good.
        before: called before it is sent; returns more options.
        during: called when it has been sent.
    """

    name: str
    task: Callable[[Canvas], Any] | str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    serializers: tuple[str, ...] = SERIALIZERS
    differs: Difference | None = None
    slow: bool = False
    chord_fails: bool = False
    worker_subscribes: bool = False
    before: Callable[[Scene], Mapping[str, Any]] | None = None
    during: Callable[[Scene], None] | None = None

    def difference(self, serializer: str) -> Difference | None:
        """What there is with this serializer, if there is one."""
        return self.differs if self.differs is not None and serializer in self.differs.serializers else None


_STOP = Difference("asyncio would wait for ever on a future that ends with it", TaskFailedError, ("stop",))
_NEEDS_THREE = Difference(
    "it cannot be built: Celery shows its wrapper, or a class made on the spot, and so do we, under the right name",
    TaskFailedError,
    ("1-2-3",),
)
_UNPICKLABLE = Difference(
    "Celery shows its wrapper, or a class made on the spot; we restore the real one", failures.UnpicklableError, ("u",)
)
_INT_KEYS = Difference(
    "Celery lets the serializer's error through, to whoever reads it", ResultDecodeError, None, serializers=("msgpack",)
)


def _unseen(*args: Any) -> Difference:
    return Difference("both make a class on the spot; ours is a TaskFailedError", TaskFailedError, args, JSON_LIKE)


def _failing(kind: str, *args: Any, differs: Difference | None = None) -> Row:
    return Row(f"raises {kind}{args!r}", "fail", (kind, *args), differs=differs)


def _revoked_before(scene: Scene) -> Mapping[str, Any]:
    # To this worker alone: every worker that hears of it stores the state by itself, each in its own serializer.
    scene.app.control.revoke(scene.task_id, destination=[scene.worker.process.name])
    return {"countdown": 0.5}


def _terminated(scene: Scene) -> None:
    wait_until(lambda: scene.app.AsyncResult(scene.task_id).state == "STARTED", "the task to begin")
    scene.app.control.revoke(scene.task_id, terminate=True, destination=[scene.worker.process.name])


def _to_another_worker(scene: Scene) -> Mapping[str, Any]:
    return {"queue": scene.worker_for(concurrency=1).settings["task_default_queue"]}


_PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)

WAYS_TO_SEND = [
    Row("by name", "pair", (1, 2)),
    Row("a Task", lambda s: s.app.tasks["pair"], (1,)),
    Row("keyword arguments", "pair", (1,), {"last": 3}),
    Row("a signature", lambda s: s("pair", 1, 2)),
    Row("a partial signature", lambda s: s("pair", 2), (1,), {"last": 3}),
    Row("an immutable signature", lambda s: s("pair", 2, immutable=True), (1,)),
    Row("another queue", "pair", (1,), serializers=("json",), before=_to_another_worker),
    Row("countdown", "pair", (1,), options={"countdown": 0.2}),
    Row("eta", "pair", (1,), options={"eta": _PAST}),
]

VALUES = [
    Row("None", "echo", (None,)),
    Row("False", "echo", (False,)),
    Row("1 MiB", "big", (2**20,)),
    *[
        Row(f"value: {what}", "made", (what,), differs=_INT_KEYS if what == "int keys" else None)
        for what in values.MADE
    ],
]

EXCEPTIONS = [
    _failing("ValueError", "no", 1),
    _failing("ValueError"),
    _failing("KeyError", "k"),
    _failing("Exception", "plain"),
    _failing("AssertionError"),
    _failing("ZeroDivisionError", "division by zero"),
    _failing("FileNotFoundError", 2, "No such file"),
    _failing("OSError", 2, "No such file"),
    _failing("UnicodeDecodeError", "utf-8", b"\xff", 0, 1, "invalid start byte"),
    _failing("TimeoutError", "the task's own"),
    _failing("StopIteration", "stop", differs=_STOP),
    _failing("CustomError", "x", [1, {"a": None}]),
    _failing("Outer.InnerError", "deep"),
    _failing("NeedsThreeError", 1, 2, 3, differs=_NEEDS_THREE),
    _failing("UnpicklableError", "u", differs=_UNPICKLABLE),
    Row("unseen here", "fail_unseen", ("who", 1), differs=_unseen("who", 1)),
    Row("unseen here, no arguments", "fail_unseen", differs=_unseen()),
    Row("unknown to the worker", "no such task"),
    Row("wrong arguments", "made", ("no such value",)),
]

FATES = [
    Row("retried", "retry_once", ("late",)),
    Row("retried in vain", "give_up"),
    Row("retried in vain, with its own exception", "give_up", ("ConnectionError",)),
    Row("revoked", "echo", (1,), before=_revoked_before),
    Row("terminated", "sleep", (60,), during=_terminated),
    Row("expired", "echo", (1,), options={"expires": _PAST}),
    Row("soft time limit", "sleep_in_steps", (60,), options={"soft_time_limit": 1}, slow=True),
    Row("time limit", "sleep", (60,), options={"time_limit": 1}, slow=True),
    Row("killed", "die", slow=True),
    Row("exited", "die", (False,), slow=True),
    Row("reports progress", "progress", (3,)),
    Row("returns a task", "send_another", ("other",)),
    Row("replaced by a task", "replaced", ("echo", "new")),
    Row("replaced by one that fails", "replaced", ("fail", "CustomError", "new")),
    Row("replaced by a chain", "replaced", ("echo in a chain", "new")),
    Row("replaced by a group", "replaced", ("echo in a group", "new"), worker_subscribes=True),
]

CANVASES = [
    Row("chain", lambda s: s.chain(s("add", 1, 2), s("add", 3), s("add", 4))),
    Row("chain of one", lambda s: s.chain(s("add", 1, 2))),
    Row("chain that fails", lambda s: s.chain(s("fail", "CustomError", "first"), s("add", 3), s("add", 4))),
    Row("chain that ends in a failure", lambda s: s.chain(s("add", 1, 2), s("fail", "KeyError", "k", immutable=True))),
    Row("chain whose first expired", lambda s: s.chain(s("add", 1, 2, expires=_PAST), s("add", 3), s("add", 4))),
    Row("chain that ends in a group", lambda s: s.chain(s("add", 1, 2), s.group(s("add", 3), s("add", 4)))),
    Row("group", lambda s: s.group(s("add", 1, 2), s("echo", "x"))),
    Row("group of one", lambda s: s.group(s("add", 1, 2))),
    Row("group of none", lambda s: s.group()),
    Row("nested group", lambda s: s.group(s("echo", 1), s.group(s("echo", 2), s.group(s("echo", 3))), s("echo", 4))),
    Row("group of chains", lambda s: s.group(s.chain(s("add", 1, 2), s("add", 3)), s("echo", "x"))),
    Row("group that fails", lambda s: s.group(s("echo", 1), s("fail", "CustomError", "one"))),
    # The first one fails when all has been looked at.
    Row(
        "group that fails twice", lambda s: s.group(s("fail", "KeyError", 1, countdown=10), s("fail", "ValueError", 2))
    ),
    Row("group with an expired member", lambda s: s.group(s("echo", 1), s("echo", 2, expires=_PAST))),
    Row("chord", lambda s: s.chord([s("add", 1, 2), s("add", 3, 4)], s("echo"))),
    Row("chord of one", lambda s: s.chord([s("add", 1, 2)], s("echo"))),
    Row("chord of none", lambda s: s.chord([], s("echo"))),
    Row("chord of groups", lambda s: s.chord([s.group(s("echo", 1), s("echo", 2)), s("echo", 3)], s("echo"))),
    Row("chord with a chain", lambda s: s.chord([s("add", 1, 2)] * 2, s.chain(s("echo"), s("echo")))),
    Row("chord into a group", lambda s: s.chord([s("add", 1, 2)] * 2, s.group(s("echo"), s("echo")))),
    Row(
        "chord that fails",
        lambda s: s.chord([s("echo", 1), s("fail", "CustomError", "head")], s("echo")),
        chord_fails=True,
    ),
    Row("chord whose body fails", lambda s: s.chord([s("echo", "x")] * 2, s("fail", "KeyError", immutable=True))),
    Row(
        "chord with an expired member",
        lambda s: s.chord([s("echo", 1), s("echo", 2, expires=_PAST)], s("echo")),
        chord_fails=True,
    ),
    Row("chain of groups", lambda s: s.chain(s.group(s("echo", 1), s("echo", 2)), s.group(s("echo"), s("echo")))),
    Row(
        "chain with a group in it",
        lambda s: s.chain(s("echo", 1), s.group(s("add", 1), s("add", 2)), s("echo")),
        worker_subscribes=True,
    ),
    Row("map", lambda s: s.app.tasks["echo"].map([1, 2])),
    Row("starmap", lambda s: s.app.tasks["add"].starmap([(1, 2), (3, 4)])),
    Row("chunks", lambda s: s.app.tasks["add"].chunks([(1, 2), (3, 4)], 1)),
]

ROWS = [*VALUES, *EXCEPTIONS, *WAYS_TO_SEND, *FATES, *CANVASES]
