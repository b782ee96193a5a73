"""What the Redis consumer says to the server, in which order, and what it makes of answers that come oddly."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import RedisOptions
from bgresults.consumers.base import BaseResultConsumer
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.consumers import PURE_PYTHON, Recorder, RedisBench, drain_until
from tests.support.results import state_body

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture
def bench(server: RedisServer) -> Iterator[RedisBench]:
    with server.client() as client:
        client.flushall()
        client.config_resetstat()
    made = RedisBench(server)
    yield made
    made.close()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def through(bench: RedisBench, proxy: FaultProxy, seen: Recorder, **settings: Any) -> BaseResultConsumer:
    return bench.consumer(seen, url=f"redis://127.0.0.1:{proxy.port}/0", **settings)


def calls_of(bench: RedisBench, command: str) -> int:
    return int(bench.writer.client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def drain_some(consumer: BaseResultConsumer, turns: int = 10) -> None:
    for _ in range(turns):
        consumer.drain_events(0.02)


class TestOrder:
    def test_read_after_the_confirmation(self, bench: RedisBench, seen: Recorder) -> None:
        """A value read earlier could be older than the subscription, and what came in between would be lost."""
        with FaultProxy(bench.server.port) as proxy:
            consumer = through(bench, proxy, seen)
            consumer.start(None)
            proxy.hold(b"SUBSCRIBE")
            consumer.consume_from("a")
            drain_until(consumer, lambda: bench.asked_for() == {"a"})
            # Subscribed, but we cannot know it yet.
            drain_some(consumer)
            assert calls_of(bench, "mget") == 0
            proxy.release()
            drain_until(consumer, lambda: calls_of(bench, "mget") == 1)
            consumer.stop()

    def test_after_a_reconnect_too(self, bench: RedisBench, seen: Recorder) -> None:
        with FaultProxy(bench.server.port) as proxy:
            consumer = through(bench, proxy, seen)
            consumer.start("a")
            drain_until(consumer, lambda: calls_of(bench, "mget") == 1)
            proxy.hold(b"SUBSCRIBE")
            consumer.reconnect()
            assert not consumer.synced
            consumer.drain_events(0)
            wait_until(proxy.holding.is_set, "the SUBSCRIBE to reach the server")
            drain_some(consumer)
            assert calls_of(bench, "mget") == 1
            assert not consumer.synced
            bench.writer.store("a", "in between")
            proxy.release()
            drain_until(consumer, lambda: consumer.synced)
            assert seen.values == {"a": "in between"}
            assert consumer.counters.recovered == 1
            consumer.stop()

    def test_subscribe_reaches_the_server_first(self, bench: RedisBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        consumer.start(None)
        with bench.server.client() as client, client.monitor() as monitor:
            consumer.consume_from("a")
            drain_until(consumer, lambda: calls_of(bench, "mget") == 1)
            commands: list[str] = []
            while not commands or not commands[-1].startswith("MGET"):
                commands.append(monitor.next_command()["command"])
        ours = [command for command in commands if "celery-task-meta-a" in command and "PUBSUB" not in command]
        assert [command.split()[0] for command in ours] == ["SUBSCRIBE", "MGET"]


class TestRepetitions:
    """Redis gives every state published while subscribed, and at most one stored one for each subscription."""

    def test_a_stored_state_that_is_not_final_is_told_once(self, bench: RedisBench, seen: Recorder) -> None:
        body = bench.writer.store("a", 1, "PROGRESS")
        consumer = bench.consumer(seen)
        consumer.start("a")
        drain_until(consumer, lambda: seen.states)
        # The message of the same write, which may come after the value was read.
        bench.writer.client.publish(bench.writer.key("a"), body)
        bench.writer.publish("a", 2, "PROGRESS")
        drain_until(consumer, lambda: seen.values["a"] == 2)
        assert seen.states == [("a", "PROGRESS", 1), ("a", "PROGRESS", 2)]
        assert consumer.counters.duplicate == 1

    def test_equal_messages_are_not_repetitions(self, bench: RedisBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        consumer.start("a")
        drain_until(consumer, lambda: calls_of(bench, "mget") and consumer.drain_events(0.1) == 0)
        for _ in range(3):
            bench.writer.publish("a", 1, "PROGRESS")
        drain_until(consumer, lambda: len(seen.states) == 3)
        assert consumer.counters.duplicate == 0

    def test_a_stored_state_older_than_a_message_is_dropped(self, bench: RedisBench, seen: Recorder) -> None:
        with FaultProxy(bench.server.port) as proxy:
            bench.writer.store("a", "old", "PROGRESS")
            consumer = through(bench, proxy, seen)
            consumer.start(None)
            proxy.hold(b"MGET")
            consumer.consume_from("a")
            drain_until(consumer, proxy.holding.is_set)
            bench.writer.publish("a", "new", "PROGRESS")
            drain_until(consumer, lambda: seen.states)
            proxy.release()
            bench.writer.publish("a", "end")
            drain_until(consumer, lambda: seen.values["a"] == "end")
            drain_some(consumer)
            assert [value for _, _, value in seen.states] == ["new", "end"]
            consumer.stop()

    def test_a_final_state_is_told_once(self, bench: RedisBench, seen: Recorder) -> None:
        with FaultProxy(bench.server.port) as proxy:
            consumer = through(bench, proxy, seen)
            consumer.start(None)
            proxy.hold(b"MGET")
            bench.send("a", 1)
            consumer.consume_from("a")
            drain_until(consumer, proxy.holding.is_set)
            # Celery publishes again when a task is delivered twice; and the stored value says the same.
            bench.writer.publish("a", 1)
            bench.writer.publish("a", 1)
            drain_until(consumer, lambda: seen.states)
            proxy.release()
            drain_some(consumer)
            assert seen.states == [("a", "SUCCESS", 1)]
            consumer.stop()


class TestBodies:
    @pytest.mark.parametrize("way", ["stored", "published"])
    @pytest.mark.parametrize("wrong", ["other", None, 7, ""])
    def test_the_body_of_another_task(self, bench: RedisBench, seen: Recorder, way: str, wrong: Any) -> None:
        """Else whoever may write A's result could resolve B, and A would wait for ever."""
        consumer = bench.consumer(seen)
        if way == "stored":
            bench.writer.store("mine", 1, task_id=wrong)
        consumer.start("mine")
        consumer.consume_from("other")
        if way == "published":
            drain_until(consumer, lambda: bench.asked_for() == {"mine", "other"})
            bench.writer.publish("mine", 1, task_id=wrong)
        drain_until(consumer, lambda: seen.errors)
        assert [task_id for task_id, _ in seen.errors] == ["mine"]
        assert seen.states == []
        assert consumer.consumed_ids() == ["other"]
        bench.send("other", 2)
        drain_until(consumer, lambda: seen.states == [("other", "SUCCESS", 2)])

    def test_without_a_task_id(self, bench: RedisBench, seen: Recorder) -> None:
        consumer = bench.consumer(seen)
        consumer.start("a")
        bench.writer.write_body("a", json.dumps({"status": "SUCCESS", "result": 1}).encode())
        drain_until(consumer, lambda: seen.errors)
        assert seen.errors[0][0] == "a"

    @pytest.mark.parametrize("options", [None, PURE_PYTHON], ids=["default_parser", "python_parser"])
    def test_eight_mebibytes(self, bench: RedisBench, seen: Recorder, options: RedisOptions | None) -> None:
        consumer = bench.consumer(seen, options=options)
        consumer.start("a")
        drain_until(consumer, bench.asked_for)
        bench.send("a", "x" * (8 * MIB))
        drain_until(consumer, lambda: seen.states)
        assert len(seen.values["a"]) == 8 * MIB

    @pytest.mark.parametrize("options", [None, PURE_PYTHON], ids=["default_parser", "python_parser"])
    def test_in_small_pieces(self, bench: RedisBench, seen: Recorder, options: RedisOptions | None) -> None:
        """Five messages of a few hundred bytes, eight at a time: a half-arrived one is no dead link (pitfall 2)."""
        with FaultProxy(bench.server.port) as proxy:
            proxy.trickle(8, 0.002)
            consumer = through(bench, proxy, seen, auto_reconnect=False, connect_timeout=20.0, options=options)
            consumer.start(None)
            consumer.consume_from_many("abcde")
            drain_until(consumer, lambda: bench.asked_for() == set("abcde"))
            for task_id in "abcde":
                bench.send(task_id, task_id * 20)
            drain_until(consumer, lambda: len(seen.states) == 5)
            assert seen.values == {task_id: task_id * 20 for task_id in "abcde"}
            consumer.stop()


class TestSizeOfReads:
    def sizes(self, bench: RedisBench, consumer: BaseResultConsumer, ids: list[str], seen: Recorder) -> list[int]:
        """Bytes that each MGET asked for."""
        with bench.server.client() as client, client.monitor() as monitor:
            consumer.consume_from_many(ids)
            drain_until(consumer, lambda: all(task_id in seen.values for task_id in ids))
            bench.writer.client.echo("the-end")
            sizes = []
            while "the-end" not in (command := monitor.next_command()["command"]):
                if command.startswith("MGET"):
                    sizes.append(sum(len(seen.values[key.rpartition("-")[2]]) for key in command.split()[1:]))
        return sizes

    def store(self, bench: RedisBench, ids: list[str], size: int) -> None:
        for task_id in ids:
            bench.writer.client.set(bench.writer.key(task_id), state_body(task_id, result="x" * size))

    def test_large_values_come_in_small_chunks(self, bench: RedisBench, seen: Recorder) -> None:
        """Twenty values of 2 MiB in one answer would be 40 MiB in the server's memory, and in ours (pitfall 9b)."""
        ids = [f"large{number}" for number in range(20)]
        self.store(bench, ids, 2 * MIB)
        consumer = bench.consumer(seen)
        consumer.start(None)
        sizes = self.sizes(bench, consumer, ids, seen)
        assert sum(sizes) == 40 * MIB
        assert max(sizes) <= 16 * MIB

    def test_what_was_learnt_stays(self, bench: RedisBench, seen: Recorder) -> None:
        first, second = [[f"{name}{number}" for number in range(24)] for name in ("first", "second")]
        self.store(bench, first + second, MIB)
        consumer = bench.consumer(seen)
        consumer.start(None)
        self.sizes(bench, consumer, first, seen)
        consumer.reconnect()
        assert max(self.sizes(bench, consumer, second, seen)) <= 9 * MIB

    def test_small_values_come_in_large_chunks(self, bench: RedisBench, seen: Recorder) -> None:
        ids = [f"small{number}" for number in range(3000)]
        self.store(bench, ids, 1)
        consumer = bench.consumer(seen)
        consumer.start(None)
        assert len(self.sizes(bench, consumer, ids, seen)) <= 12


def test_a_frozen_server_does_not_hold_up_drain_events(own_redis: RedisServer, seen: Recorder) -> None:
    """Reconnecting happens within the time that drain_events() was given, also when nobody answers."""
    bench = RedisBench(own_redis)
    try:
        consumer = bench.consumer(seen, connect_timeout=8.0)
        consumer.start("a")
        bench.cut(consumer)
        own_redis.pause()
        started = time.monotonic()
        consumer.drain_events(timeout=0.3)
        taken = time.monotonic() - started
        own_redis.resume()
        assert taken < 5
    finally:
        own_redis.resume()
        bench.close()


def test_no_server_for_a_while(own_redis: RedisServer, seen: Recorder) -> None:
    bench = RedisBench(own_redis)
    try:
        consumer = bench.consumer(seen)
        consumer.start("a")
        own_redis.kill()
        started = time.monotonic()
        assert consumer.drain_events(timeout=0.3) is None
        assert 0.25 < time.monotonic() - started < 5
        own_redis.start()
        bench.send("a", 1)
        drain_until(consumer, lambda: seen.states)
    finally:
        bench.close()
