"""task_always_eager: futures that have ended already, in tests of our users'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from bgresults import NotWatchableError
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def app(new_app: NewApp) -> Celery:
    app = new_app(task_always_eager=True, result_backend="redis://nowhere.invalid:1/0")

    @app.task(name="eager add", shared=False)
    def add(x: Any, y: Any) -> Any:
        return x + y

    @app.task(name="eager fail", shared=False)
    def fail() -> None:
        raise KeyError("k")

    @app.task(name="eager total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    return app


@pytest.fixture
def watcher(app: Celery, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(app)


def test_a_task(app: Celery, watcher: CeleryResultWatcher) -> None:
    future = watcher.submit(app.tasks["eager add"], (1, 2))
    assert isinstance(future, CeleryResultFuture)
    assert future.done()
    assert future.result(0) == 3
    assert future.status == "SUCCESS"
    assert future.meta is not None
    assert future.meta.result == 3
    assert watcher.pending == 0
    assert watcher.stats().state == "idle", "no thread, no connection"


@pytest.mark.parametrize("backend", ["cache+memory://", "disabled://", None])
def test_without_a_backend_that_could_be_watched(app: Celery, from_celery: FromCelery, backend: str | None) -> None:
    """As applications have it in their tests."""
    app.conf.result_backend = backend
    watcher = from_celery(app)
    assert watcher.submit(app.tasks["eager add"], (1, 2), expires="watch").result(0) == 3
    assert watcher.watch(app.tasks["eager add"].delay(1, 2)).result(0) == 3


def test_one_that_fails(app: Celery, watcher: CeleryResultWatcher) -> None:
    future = watcher.submit(app.tasks["eager fail"])
    assert isinstance(future, CeleryResultFuture)
    with pytest.raises(KeyError):
        future.result(0)
    assert future.status == "FAILURE"
    assert future.meta is not None
    assert isinstance(future.meta.result, KeyError)


def test_one_that_raises_in_the_caller(app: Celery, watcher: CeleryResultWatcher) -> None:
    app.conf.task_eager_propagates = True
    assert isinstance(watcher.submit(app.tasks["eager fail"]).exception(0), KeyError)
    failing = watcher.submit(group(app.tasks["eager fail"].s(), app.tasks["eager add"].s(1, 2)))
    assert isinstance(failing, GroupFutures)
    assert isinstance(failing.exception(0), KeyError)
    assert list(failing) == []


def test_it_is_told_of_its_end(app: Celery, watcher: CeleryResultWatcher) -> None:
    """Once, the final state, before the future has ended: as it is told by a worker's."""
    seen: list[Any] = []
    future = watcher.submit(app.tasks["eager add"], (1, 2), on_update=seen.append)
    failed = watcher.submit(app.tasks["eager fail"], on_update=seen.append)
    watcher.watch(app.tasks["eager add"].delay(3, 4), on_update=seen.append)
    assert [(state.status, state.ready) for state in seen] == [("SUCCESS", True), ("FAILURE", True), ("SUCCESS", True)]
    assert [seen[0].result, seen[2].result] == [future.result(0), 7]
    assert seen[1].result is failed.exception(0)


def test_what_is_told_may_raise(app: Celery, watcher: CeleryResultWatcher, caplog: pytest.LogCaptureFixture) -> None:
    assert watcher.submit(app.tasks["eager add"], (1, 2), on_update=lambda state: 1 / 0).result(0) == 3
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lifetime": -4}, "lifetime"),
        ({"lifetime": None, "expires": "watch"}, "expires='watch' needs a watch that ends"),
    ],
)
def test_what_production_would_refuse(
    app: Celery, watcher: CeleryResultWatcher, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        watcher.submit(app.tasks["eager add"], (1, 2), **options)


def test_a_canvas(app: Celery, watcher: CeleryResultWatcher) -> None:
    add, total = app.tasks["eager add"], app.tasks["eager total"]
    assert watcher.submit(chain(add.s(1, 2), add.s(3))).result(0) == 6
    both = watcher.submit(group(add.s(1, 2), group(add.s(3, 4), add.s(5, 6))))
    assert isinstance(both, GroupFutures)
    assert both.result(0) == [3, 7, 11]
    assert [future.result(0) for future in both] == [3, 7, 11]
    summed = watcher.submit(chord([add.s(1, 2), add.s(3, 4)], total.s()))
    assert isinstance(summed, GroupFutures)
    assert summed.result(0) == 10
    failing = watcher.submit(group(add.s(1, 2), app.tasks["eager fail"].s()))
    assert isinstance(failing.exception(0), KeyError)


def test_a_result_of_celerys_own(app: Celery, watcher: CeleryResultWatcher) -> None:
    add = app.tasks["eager add"]
    assert watcher.watch(add.delay(1, 2)).result(0) == 3
    mixed = watcher.watch_group(group(add.s(1, 2), add.s(3, 4)).apply_async())
    assert mixed.result(0) == [3, 7]
    assert watcher.pending == 0


def test_a_result_that_is_ignored(app: Celery, watcher: CeleryResultWatcher) -> None:
    result = app.AsyncResult("id")
    result.ignored = True
    with pytest.raises(NotWatchableError, match="ignored"):
        watcher.watch(result)
