"""The library without Celery."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedExpression=false

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, as_completed, wait
from typing import Any

from typing_extensions import assert_type

from bgresults import (
    AMQPOptions,
    RedisOptions,
    ResultFuture,
    ResultWatcher,
    RetryPolicy,
    TaskMeta,
    WatcherHealth,
    WatcherStats,
)
from bgresults.sse import sse
from bgresults.testing import FakeResults, SentTask, no_backoff


class Stored:
    """As an AsyncResult has it."""

    id: str = "an id"


def watching(watcher: ResultWatcher) -> None:
    future = watcher.watch("an id")
    assert_type(future, ResultFuture)
    assert_type(future.result(timeout=0.5), Any)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.task_id, str)
    assert_type(future.status, str | None)
    assert_type(future.meta, TaskMeta | None)
    assert_type(watcher.watch(uuid.uuid4(), lifetime=None), ResultFuture)
    assert_type(watcher.watch(Stored(), lifetime=60), ResultFuture)
    assert_type(watcher.watch_many(["one", uuid.uuid4(), Stored()]), list[ResultFuture])
    assert_type(watcher.watch_many(str(number) for number in range(3)), list[ResultFuture])
    assert_type(watcher.reply_to, str | None)
    assert_type(watcher.declare_for("an id"), str | None)
    assert_type(watcher.wait_ready(5), bool)
    assert_type(watcher.stats(), WatcherStats)
    assert_type(watcher.health(), WatcherHealth)
    assert_type(watcher.pending, int)

    watcher.watch()  # type: ignore[call-arg]
    watcher.watch(5)  # type: ignore[arg-type]
    watcher.watch(None)  # type: ignore[arg-type]
    watcher.watch(b"an id")  # type: ignore[arg-type]
    watcher.watch(["an id"])  # type: ignore[arg-type]
    watcher.watch("an id", lifetime="60")  # type: ignore[arg-type]
    watcher.watch("an id", 60)  # type: ignore[call-arg]
    watcher.watch("an id", timeout=5)  # type: ignore[call-arg]
    watcher.watch_many(5)  # type: ignore[arg-type]
    watcher.watch_many([5])  # type: ignore[list-item]
    future.result("5")  # type: ignore[arg-type]
    watcher.submit("add")  # type: ignore[attr-defined]


def standard_library(watcher: ResultWatcher) -> None:
    """It takes them as it takes its own."""
    futures = watcher.watch_many(["one", "two"])
    names = {futures[0]: "one", futures[1]: "two"}
    as_its_own: Future[Any] = futures[0]
    done, pending = wait(futures, timeout=2)
    wait(names)
    for future in as_completed(futures, timeout=2):
        future.result()
    as_its_own.add_done_callback(lambda future: print(future.result()))
    print(done, pending, names)


def callbacks(watcher: ResultWatcher) -> None:
    states: list[TaskMeta] = []
    watcher.watch("an id", on_update=states.append)
    watcher.watch("an id", on_update=lambda state: print(state.status, state.result))

    def two(_state: TaskMeta, _more: int) -> None: ...

    def text(_state: str) -> None: ...

    watcher.watch("an id", on_update=two)  # type: ignore[arg-type]
    watcher.watch("an id", on_update=text)  # type: ignore[arg-type]


def states(watcher: ResultWatcher) -> Iterator[str]:
    for state in watcher.updates("an id", timeout=5):
        assert_type(state, TaskMeta)
        assert_type(state.ready, bool)
        yield state.status
    with watcher.updates("an id") as stream:
        yield next(stream).status
    for chunk in sse(watcher, "an id"):
        assert_type(chunk, bytes)

    state = TaskMeta(task_id="an id", status="SUCCESS")
    state.status = "FAILURE"  # type: ignore[misc]


async def coroutines(watcher: ResultWatcher) -> AsyncIterator[TaskMeta]:
    async for state in watcher.aupdates("an id"):
        yield assert_type(state, TaskMeta)
    value = await asyncio.wrap_future(watcher.watch("an id"))
    assert_type(value, Any)


def options() -> None:
    with ResultWatcher(
        "redis://localhost",
        accept=["json", "msgpack"],
        max_body_size=None,
        on_disconnect="fail",
        retry=RetryPolicy(maximum=1),
        redis=RedisOptions(health_check_interval=10),
    ) as watcher:
        assert_type(watcher, ResultWatcher)
    ResultWatcher("amqp://localhost", amqp=AMQPOptions(binding="task"))

    ResultWatcher()  # type: ignore[call-arg]
    ResultWatcher("redis://", "prefix")  # type: ignore[call-arg]
    ResultWatcher("redis://", on_disconnect="no")  # type: ignore[arg-type]
    ResultWatcher("redis://", redis={})  # type: ignore[arg-type]
    AMQPOptions(binding="queue")  # type: ignore[arg-type]
    RetryPolicy(retries=3)  # type: ignore[call-arg]


def faking(fake: FakeResults) -> None:
    assert_type(fake.watcher(on_disconnect="fail"), ResultWatcher)
    fake.resolve("an id", {"any": "value"})
    fake.resolve(fake.watcher().watch("an id"))
    fake.progress(Stored(), 1, state="STARTED")
    fake.fail(uuid.uuid4(), ValueError)
    fake.fail("an id", ValueError("no"))
    fake.when("a.task").progress(1).returns(2)
    assert_type(fake.sent, list[SentTask])
    assert_type(fake.pending, list[str])
    with no_backoff():
        fake.disconnect()

    fake.resolve(5)  # type: ignore[arg-type]
    fake.fail("an id", "no exception")  # type: ignore[arg-type]
    fake.when("a.task").runs(5)  # type: ignore[arg-type]
