"""``consumers.redis.ResultConsumer`` keeps the contract, with either parser, and what it asks of the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import celery
import pytest
from celery.result import AsyncResult, GroupResult, ResultSet

from bgresults.consumers import BaseResultConsumer
from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis import ResultConsumer
from bgresults.testing import RedisServer
from tests.integration.contract import ConsumerContract
from tests.support import wait_until
from tests.support.consumers import PURE_PYTHON, PYTHON_PARSER, Recorder, RedisBench, drain_until
from tests.support.results import new_ids


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture
def bench(server: RedisServer) -> Iterator[RedisBench]:
    with server.client() as client:
        client.flushall()
    made = RedisBench(server)
    yield made
    made.close()


class TestContract(ConsumerContract):
    """With the parser that is installed: hiredis if it is there."""


class TestContractWithThePythonParser(ConsumerContract):
    """With redis-py's own, over a connection class of the user's."""

    @pytest.fixture
    def bench(self, bench: RedisBench) -> Iterator[RedisBench]:
        made = RedisBench(bench.server, options=PURE_PYTHON)
        # The one below has a connection of its own, which must not be counted.
        bench.close()
        yield made
        made.close()

    def test_it_is_that_parser(self) -> None:
        assert PURE_PYTHON.connection_class is not None
        connection = PURE_PYTHON.connection_class(protocol=2)
        assert isinstance(connection._parser, PYTHON_PARSER)


class Noting(ResultConsumer):
    """Overrides the method of the specification, as users do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changes: list[str] = []

    def on_state_change(self, meta: Any, message: Any) -> None:
        self.changes.append(meta["status"])
        super().on_state_change(meta, message)


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def calls_of(bench: RedisBench, command: str) -> int:
    statistics = bench.writer.client.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {}).get("calls", 0))


class TestManyIds:
    def test_ten_thousand_in_batches(self, bench: RedisBench, seen: Recorder) -> None:
        ids = new_ids(10_000)
        client = bench.writer.client
        client.config_set("slowlog-log-slower-than", 0)
        client.config_set("slowlog-max-len", 100_000)
        client.slowlog_reset()
        consumer = bench.consumer(seen)
        consumer.start(None)
        consumer.consume_from_many(ids)
        drain_until(consumer, lambda: len(bench.asked_for()) == 10_000 and settled(consumer))
        # The log cuts long commands short, and says by how many arguments.
        sizes = [arguments_of(entry) for entry in client.slowlog_get(100_000)]
        subscribes = [size for name, size in sizes if name == b"SUBSCRIBE"]
        assert sum(subscribes) == 10_000
        assert max(subscribes) <= 1000
        assert max(size for name, size in sizes if name == b"MGET") <= 1000
        assert bench.connections() == 2
        consumer.cancel_for_many(ids)
        drain_until(consumer, lambda: not bench.asked_for())
        sizes = [arguments_of(entry) for entry in client.slowlog_get(100_000)]
        assert max(size for name, size in sizes if name == b"UNSUBSCRIBE") <= 1000

    def test_two_connections(self, bench: RedisBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        consumer.start("a")
        for _ in range(5):
            consumer.consume_from_many(new_ids(100))
            consumer.drain_events(0.01)
        consumer.on_wait_for_pending(new_ids(10))
        assert bench.connections() == 2
        bench.cut(consumer)
        consumer.reconnect()
        assert bench.connections() == 2


def settled(consumer: BaseResultConsumer) -> bool:
    return consumer.drain_events(0.2) == 0 and consumer.drain_events(0.2) == 0


def arguments_of(entry: dict[str, Any]) -> tuple[bytes, int]:
    words: list[bytes] = entry["command"].split(b" ")
    name, count = words[0].upper(), len(words) - 1
    if words[-1] == b"arguments)":  # "... (468 more arguments)", which stands for as many, and for one that it replaced
        count = len(words) - 1 - 4 + int(words[-3].lstrip(b"("))
    return name, count


def test_what_matters_to_brokers_alone(bench: RedisBench, seen: Recorder) -> None:
    """Nothing has to be there before a task is sent, and nobody can tell when everything has come."""
    consumer = bench.consumer(seen)
    told: list[Any] = []
    consumer.declare_for("a", told.append)
    consumer.catch_up(told.append)
    assert told == [None, None]
    assert consumer.needs_waking(["a"])
    assert consumer.reply_to is None
    consumer.start("a")
    assert consumer.drain_events(0.0) == 0


class TestOnStateChange:
    def test_a_subclass_sees_messages_and_stored_states(self, bench: RedisBench, seen: Recorder) -> None:
        bench.writer.store("a", 1, "PROGRESS")
        consumer = bench.consumer(seen, Noting)
        consumer.start("a")
        drain_until(consumer, lambda: seen.states)
        bench.send("a", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert isinstance(consumer, Noting)
        assert consumer.changes == ["PROGRESS", "SUCCESS"]


def test_no_state_is_told_after_a_newer_one(bench: RedisBench, seen: Recorder) -> None:
    """Consumed once more, twice: both answers say what was stored before the message."""
    bench.writer.store("a", 1, "PROGRESS")
    consumer = bench.consumer(seen)
    consumer.start("a")
    drain_until(consumer, lambda: seen.states)
    before = calls_of(bench, "mget")
    consumer.consume_from("a")
    consumer.consume_from("a")
    wait_until(lambda: calls_of(bench, "mget") == before + 2, "the server to answer both")
    bench.send("a", 2, "PROGRESS")
    drain_until(consumer, lambda: ("a", "PROGRESS", 2) in seen.states and settled(consumer))
    results = [result for _, _, result in seen.states]
    assert results == sorted(results)


class TestOnWaitForPending:
    """It reads what is stored for the ids in whatever Celery calls a result, consumed or not."""

    @pytest.fixture
    def app(self) -> celery.Celery:
        return celery.Celery("none", broker="memory://", backend="cache+memory://", set_as_current=False)

    @pytest.mark.parametrize(
        "kind", ["id", "ids", "tuple", "like_a_result", "like_a_set", "AsyncResult", "ResultSet", "group"]
    )
    def test_kinds_of_results(self, bench: RedisBench, seen: Recorder, app: celery.Celery, kind: str) -> None:
        ids = ["a"] if kind in {"id", "like_a_result", "AsyncResult"} else ["a", "b", "missing"]
        real = [AsyncResult(task_id, app=app) for task_id in ids]
        result: Any = {
            "id": "a",
            "ids": ids,
            "tuple": tuple(ids),
            "like_a_result": SimpleNamespace(id="a"),
            "like_a_set": SimpleNamespace(results=[SimpleNamespace(id=task_id) for task_id in ids]),
            "AsyncResult": real[0],
            "ResultSet": ResultSet(real, app=app),
            "group": GroupResult("group", real, app=app),
        }[kind]
        for task_id in ("a", "b"):
            bench.writer.store(task_id, task_id.upper())
        consumer = bench.consumer(seen)
        consumer.start(None)
        consumer.on_wait_for_pending(result)
        assert seen.values == {task_id: task_id.upper() for task_id in ids if task_id != "missing"}

    def test_many_in_chunks(self, bench: RedisBench, seen: Recorder) -> None:
        ids = new_ids(3000)
        with bench.writer.client.pipeline(transaction=False) as pipeline:
            bench_client, bench.writer.client = bench.writer.client, pipeline
            for number, task_id in enumerate(ids):
                bench.writer.store(task_id, number)
            bench.writer.client = bench_client
            pipeline.execute()
        consumer = bench.consumer(seen)
        consumer.start(None)
        before = calls_of(bench, "mget")
        consumer.on_wait_for_pending(iter_of(ids))
        assert seen.values == dict(zip(ids, range(3000), strict=True))
        assert calls_of(bench, "mget") - before >= 3

    def test_ends_the_subscription(self, bench: RedisBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced)
        bench.writer.store("a", 1)
        consumer.on_wait_for_pending("a")
        assert seen.states == [("a", "SUCCESS", 1)]
        assert consumer.consumed_ids() == []
        drain_until(consumer, lambda: not bench.asked_for())

    def test_over_a_lost_link(self, bench: RedisBench, seen: Recorder) -> None:
        """It says so, and the next one connects anew; a started one is not started again."""
        bench.writer.store("a", 1)
        consumer = bench.consumer(seen, auto_reconnect=False)
        consumer.start(None)
        consumer.start(None)
        bench.cut(consumer)
        with pytest.raises(ConnectionLost):
            consumer.on_wait_for_pending("a")
        assert not consumer.connected
        consumer.on_wait_for_pending("a")
        assert seen.states == [("a", "SUCCESS", 1)]
        consumer.stop()

    def test_while_answers_are_due(self, bench: RedisBench, seen: Recorder) -> None:
        """Answers come in the order of the questions: those that drain_events() waits for are first."""
        bench.writer.store("a", 1, "PROGRESS")
        bench.writer.store("b", 2)
        consumer = bench.consumer(seen)
        consumer.start("a")
        for _ in range(3):
            consumer.drain_events(0.05)
            consumer.consume_from_many(new_ids(100))
            consumer.on_wait_for_pending("b")
        drain_until(consumer, lambda: settled(consumer))
        assert [value for task_id, _, value in seen.states if task_id == "b"] == [2, 2, 2]
        assert seen.values["a"] == 1


def iter_of(ids: list[str]) -> Iterable[str]:
    yield from ids
