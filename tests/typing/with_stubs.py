"""With Celery, and its types from the package celery-types."""

# pyright: standard, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from celery import Celery, chain, chord, group, shared_task, signature
from celery.result import AsyncResult
from typing_extensions import assert_type

from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures
from bgresults.integrations.flask import BgResults

app = Celery("typed")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def double(x: int) -> int:
    return 2 * x


def sending(watcher: CeleryResultWatcher) -> None:
    assert_type(watcher.submit(add, (1, 2)), CeleryResultFuture)
    assert_type(watcher.submit(double, (1,), countdown=5), CeleryResultFuture)
    assert_type(watcher.submit_on_commit(add, (1, 2)), CeleryResultFuture)
    assert_type(watcher.submit(group([add.s(1, 2), double.s(3)])), GroupFutures)
    assert_type(watcher.submit_on_commit(group(add.s(1, 2))), GroupFutures)
    assert_type(watcher.submit(chord([add.s(1, 2), add.s(3, 4)], double.s())), GroupFutures)
    assert_type(watcher.submit(add.chunks([(1, 2), (3, 4)], 10)), GroupFutures)
    # One task, as a rule. What else it is shows when it runs, and isinstance() tells.
    watcher.submit(add.s(1, 2)).add_done_callback(print)
    watcher.submit(add.s(1, 2) | double.s()).add_done_callback(print)
    watcher.submit(signature({"task": "add"})).add_done_callback(print)
    one = watcher.submit(chain(add.s(1, 2), group([double.s()])))
    if isinstance(one, GroupFutures):
        assert_type(one, GroupFutures)
    else:
        one.add_done_callback(print)

    watcher.submit(5)  # type: ignore[call-overload]
    watcher.submit(AsyncResult[int]("an id"))  # type: ignore[call-overload]
    print(watcher.submit(group([add.s(1, 2)])).task_id)  # type: ignore[attr-defined]


def flask(results: BgResults) -> None:
    assert_type(results.submit(add, (1, 2)), CeleryResultFuture)
    assert_type(results.submit(group([add.s(1, 2)])), GroupFutures)
    results.submit(add.s(1, 2)).add_done_callback(print)


def watching(watcher: CeleryResultWatcher) -> None:
    assert_type(watcher.watch(add.delay(1, 2)), CeleryResultFuture)
    assert_type(watcher.watch_many([add.delay(1, 2), double.delay(1)]), list[CeleryResultFuture])
    assert_type(watcher.watch_group(group([add.s(1, 2)]).apply_async()), GroupFutures)
