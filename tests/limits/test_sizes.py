"""What is very large, very deep or very long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, NotWatchableError, ResultDecodeError, ResultWatcher, WatcherClosedError
from tests.limits.backends import WAIT, Backend
from tests.limits.running import run
from tests.support.logs import Told
from tests.support.results import new_id, new_ids, state_body
from tests.support.rpc import proxy_to, through
from tests.support.waiting import wait_until

MANY = 100_000
# Of JSON, each in the one before: more than Python follows.
DEEP = 100_000


def works(watcher: ResultWatcher, backend: Backend, task_id: str | None = None) -> None:
    future = watcher.watch(task_id or new_id())
    backend.send(watcher, future.task_id, "works")
    assert future.result(WAIT) == "works"


def deep_body(task_id: str, *, typed: bool) -> bytes:
    """A result of lists in lists; a typed value beside it has kombu read it, instead of json alone."""
    value = '{"__type__": "decimal", "__value__": "1.5"}' if typed else "0"
    body = state_body(task_id, result="PLACE").decode()
    return body.replace('"PLACE"', f"[{value}, {'[' * DEEP}{']' * DEEP}]").encode()


@pytest.mark.parametrize("typed", [False, True])
def test_too_deep_to_be_read(watcher: ResultWatcher, backend: Backend, told: Told, typed: bool) -> None:
    future = watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    backend.send_raw(watcher, future.task_id, deep_body(future.task_id, typed=typed))
    error = future.exception(WAIT)
    assert isinstance(error, ResultDecodeError)
    assert "RecursionError" in str(error)
    works(watcher, backend)
    assert watcher.stats().undecodable == 1
    assert told.levels == []


def test_as_deep_as_can_be_read(watcher: ResultWatcher, backend: Backend) -> None:
    """Of a failure as well, whose arguments are looked at once more."""
    value: Any = 0
    for _ in range(500):
        value = [value]
    assert json.loads(json.dumps(value)) == value
    future, failing = watcher.watch(new_id()), watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    backend.send(watcher, future.task_id, value)
    assert future.result(WAIT) == value
    described = {"exc_type": "ValueError", "exc_message": [value], "exc_module": "builtins"}
    backend.send_raw(watcher, failing.task_id, state_body(failing.task_id, "FAILURE", described))
    error = failing.exception(WAIT)
    assert isinstance(error, ValueError)
    assert error.args == (value,)


@pytest.mark.parametrize(
    ("stack", "limit", "levels"),
    [
        pytest.param(256 * 1024, 1000, 850, id="small-stacks"),
        pytest.param(0, 30_000, 25_000, id="high-limit"),
    ],
)
def test_deeper_than_the_stack_takes(backend: Backend, stack: int, limit: int, levels: int) -> None:
    """A faster reader of JSON needs more of the stack, and the interpreter does not look at that."""
    by_json, ours = json.loads(run("nested", backend.url, str(stack), str(limit), str(levels)))
    assert ours == by_json


@pytest.mark.parametrize("reader", ["bgresults.meta.untyped_json", "bgresults.meta.loads"])
def test_no_memory_to_read_it(
    watcher: ResultWatcher, backend: Backend, told: Told, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """As if that one body was too much; whoever reads it, json alone or kombu."""

    def no_memory(*_: Any, **__: Any) -> Any:
        monkeypatch.undo()
        raise MemoryError

    future = watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    monkeypatch.setattr(reader, no_memory)
    value = {"__type__": "decimal", "__value__": "1.5"} if reader.endswith("meta.loads") else 1
    backend.send(watcher, future.task_id, value)
    error = future.exception(WAIT)
    assert isinstance(error, ResultDecodeError)
    assert "MemoryError" in str(error)
    works(watcher, backend)
    assert told.levels == []


@pytest.mark.parametrize("length", [255, 256, 1_000_000])
def test_a_long_id(watcher: ResultWatcher, backend: Backend, length: int) -> None:
    assert watcher.wait_ready(WAIT)
    works(watcher, backend, new_id().ljust(length, "x"))
    works(watcher, backend, new_id().ljust(length - 1, "x") + "é")
    assert watcher.stats().reconnects == 0
    wait_until(lambda: watcher.stats().subscribed == 0, "the ends of the subscriptions")


@pytest.mark.rabbitmq
def test_an_id_that_is_too_long_for_a_queue(rabbitmq_url: str) -> None:
    """Bytes are counted, and its neighbours do not notice."""
    with ResultWatcher(rabbitmq_url, amqp=AMQPOptions(binding="task")) as watcher:
        fits = "é" * 127 + "x"
        with pytest.raises(NotWatchableError, match="255 bytes"):
            watcher.declare_for("é" * 128)
        error = watcher.watch("é" * 128).exception(WAIT)
        assert isinstance(error, NotWatchableError)
        future = watcher.watch(fits)
        wait_until(lambda: watcher.stats().subscribed == 1, "the neighbour")
        assert watcher.stats().reconnects == 0
        assert not future.done()


@pytest.fixture
def crowd(url: str) -> Iterator[tuple[ResultWatcher, list[str]]]:
    with ResultWatcher(url, max_pending=MANY) as watcher:
        assert watcher.wait_ready(WAIT)
        yield watcher, new_ids(MANY)


@pytest.mark.slow
def test_closing_with_a_hundred_thousand_pending(crowd: tuple[ResultWatcher, list[str]], backend: Backend) -> None:
    watcher, ids = crowd
    futures = watcher.watch_many(ids)
    wait_until(lambda: watcher.stats().subscribed == MANY, "all of them", WAIT)
    for task_id in ids[::10_000]:
        backend.send(watcher, task_id, task_id)
    assert [future.result(WAIT) for future in futures[::10_000]] == ids[::10_000]
    began = time.monotonic()
    watcher.close(WAIT)
    assert time.monotonic() - began < WAIT
    assert watcher.pending == 0
    assert sum(isinstance(future.exception(0), WatcherClosedError) for future in futures) == MANY - 10


@pytest.mark.slow
def test_closing_with_a_hundred_thousand_during_an_outage(url: str) -> None:
    """Nobody waits for a farewell then."""
    with proxy_to(url) as proxy:
        proxy.refuse()
        watcher = ResultWatcher(through(proxy, url), max_pending=MANY)
        futures = watcher.watch_many(new_ids(MANY))
        wait_until(lambda: watcher.stats().state == "backoff", "the outage", WAIT)
        watcher.close(WAIT)
    assert watcher.pending == 0
    assert all(isinstance(future.exception(0), WatcherClosedError) for future in futures)
