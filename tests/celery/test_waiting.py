"""Waiting for a task inside a task is refused, as Celery refuses it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery._state import _set_task_join_will_block
from celery.result import allow_join_result

from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def in_a_worker() -> Iterator[None]:
    """What a prefork worker says of its pool processes."""
    _set_task_join_will_block(True)
    yield
    _set_task_join_will_block(False)


@pytest.fixture
def watcher(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(new_app(result_backend=redis_server.url()))


@pytest.fixture
def writer(redis_server: RedisServer) -> Iterator[ResultWriter]:
    results = ResultWriter(redis_server)
    yield results
    results.close()


@pytest.mark.usefixtures("in_a_worker")
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_refused(watcher: CeleryResultWatcher, timeout: float | None) -> None:
    future, stream = watcher.watch(new_id()), watcher.updates(new_id())
    waits: list[Callable[[], Any]] = [
        lambda: future.result(timeout),
        lambda: future.exception(timeout),
        lambda: next(stream),
    ]
    for wait in waits:
        with pytest.raises(RuntimeError, match="within a task"):
            wait()


@pytest.mark.usefixtures("in_a_worker")
def test_what_does_not_wait(watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_id())
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0)
    seen: list[Any] = []
    future.add_done_callback(lambda ended: seen.append(ended.result()))
    writer.write(future.task_id, 5)
    wait_until(future.done, "the result")
    assert future.result() == 5
    wait_until(lambda: seen == [5], "the callback, which asks for it too")


@pytest.mark.usefixtures("in_a_worker")
def test_allowed(watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id, 5)
    with allow_join_result():
        assert future.result(WAIT) == 5


def test_in_a_web_process(watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id, 5)
    assert future.result(WAIT) == 5
