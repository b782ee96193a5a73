"""With Celery, whose classes have no types of their own: what is known all the same."""

# pyright: standard, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from concurrent.futures import Future, as_completed
from typing import Any

from celery import Celery, group, signature
from flask import Flask
from typing_extensions import assert_type

from bgresults import ResultFuture, ResultWatcher
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures, from_celery
from bgresults.integrations.django import watcher as django_watcher
from bgresults.integrations.django import watchers as django_watchers
from bgresults.integrations.flask import BgResults

app = Celery("typed")


@app.task
def add(x: int, y: int) -> int:
    return x + y


def watching() -> None:
    assert_type(from_celery(app), CeleryResultWatcher)
    with ResultWatcher.from_celery(app, name="typed") as watcher:
        assert_type(watcher, CeleryResultWatcher)
        assert_type(watcher.watch("an id"), CeleryResultFuture)
        assert_type(watcher.watch_many(["an id"]), list[CeleryResultFuture])
        assert_type(watcher.watch_group("an id"), GroupFutures)
        watcher.watch("an id").revoke(terminate=True)
        with watcher.route_replies():
            pass

    watcher.watch(5)  # type: ignore[arg-type]


def sending(watcher: CeleryResultWatcher) -> None:
    """The name of a task says that it is one; of the rest it depends on the type checker what is known."""
    assert_type(watcher.submit("add", (1, 2)), CeleryResultFuture)
    assert_type(watcher.submit("add", (1, 2), lifetime=60, queue="fast"), CeleryResultFuture)
    assert_type(watcher.submit_on_commit("add", (1, 2), using="replica"), CeleryResultFuture)
    assert_type(django_watcher.submit("add"), CeleryResultFuture)
    assert_type(django_watchers["other"].submit("add"), CeleryResultFuture)
    # None of these has to be narrowed to be used.
    future: ResultFuture = watcher.submit(add, (1, 2))
    futures: GroupFutures = watcher.submit(group([signature("add"), signature("add")]))
    names = {watcher.submit(add, (number, 1)): number for number in range(3)}
    for ended in as_completed(names):
        ended.result()
    print(future, futures)

    watcher.submit()  # type: ignore[call-overload]
    watcher.submit(5)  # type: ignore[call-overload]
    watcher.submit("add", lifetime="5")  # type: ignore[call-overload]
    watcher.submit("add", on_update=5)  # type: ignore[call-overload]


def groups(futures: GroupFutures) -> None:
    assert_type(futures[0], CeleryResultFuture)
    assert_type(futures[1:], list[CeleryResultFuture])
    assert_type(list(futures), list[CeleryResultFuture])
    assert_type(futures.values, Future[list[Any]])
    assert_type(futures.body, Future[Any] | None)
    assert_type(futures.partial(timeout=1, default=None), list[Any])
    for future in as_completed(futures):
        future.result()

    futures["one"]  # type: ignore[call-overload]


def flask(results: BgResults) -> None:
    results.init_app(Flask("typed"))
    assert_type(results.submit("add", (1, 2)), CeleryResultFuture)
    assert_type(results.watch("an id"), ResultFuture)
    results.submit(5)  # type: ignore[call-overload]
