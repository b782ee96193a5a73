"""The consumer without a server keeps the contract that those of Redis and AMQP keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgresults.consumers import BaseResultConsumer
from bgresults.consumers.base import ConnectionLost
from bgresults.testing.memory import Memory, Stored
from bgresults.testing.memory_consumer import MemoryConsumer
from tests.integration.contract import ConsumerContract
from tests.support.consumers import Recorder, drain_until
from tests.support.results import state_body


class MemoryBench:
    """:class:`~tests.support.consumers.ConsumerBench` without a server."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._consumers: list[BaseResultConsumer] = []

    def consumer(self, recorder: Recorder, **settings: Any) -> BaseResultConsumer:
        callbacks = {"on_state": recorder.on_state, "on_error": recorder.on_error}
        made = MemoryConsumer(self.memory, "redis://nowhere", **{**callbacks, **settings})
        self._consumers.append(made)
        return made

    def send(self, task_id: str, result: Any = None, status: str = "SUCCESS", **fields: Any) -> object:
        return self._send(task_id, state_body(task_id, status, result, **fields))

    def send_garbage(self, task_id: str) -> object:
        return self._send(task_id, b"\xff{")

    def _send(self, task_id: str, payload: bytes) -> object:
        self.memory.publish(task_id, Stored(payload, "application/json"))
        return payload

    def asked_for(self) -> set[str]:
        return self.memory.subscribed()

    def cut(self, consumer: BaseResultConsumer) -> None:
        self.memory.disconnect("cut")
        self.memory.reconnect()

    def connections(self) -> int:
        return self.memory.connections

    def close(self) -> None:
        for made in self._consumers:
            made.stop()


@pytest.fixture
def bench() -> Iterator[MemoryBench]:
    bench = MemoryBench()
    yield bench
    bench.close()


class TestContract(ConsumerContract):
    """All of it."""


def test_stored_states_of_ids_and_results(bench: MemoryBench) -> None:
    """``on_wait_for_pending()`` of the contract."""
    seen = Recorder()
    consumer = bench.consumer(seen)
    consumer.start(None)
    bench.send("a", 1)
    bench.send("b", 2)
    consumer.on_wait_for_pending("a")
    consumer.on_wait_for_pending(["b", "unknown"])
    assert seen.values == {"a": 1, "b": 2}


def test_an_outage_lets_nobody_in(bench: MemoryBench) -> None:
    seen = Recorder()
    consumer = bench.consumer(seen, auto_reconnect=False)
    consumer.start("a")
    bench.memory.disconnect("the cable is out")
    with pytest.raises(ConnectionLost, match="the cable is out"):
        consumer.drain_events(0)
    with pytest.raises(ConnectionLost, match="the cable is out"):
        consumer.reconnect()
    assert not consumer.connected
    bench.send("a", 1)
    bench.memory.reconnect()
    consumer.reconnect()
    drain_until(consumer, lambda: seen.states)
    assert (consumer.counters.recovered, consumer.subscribed) == (1, 0)


def test_replies_have_the_queue_that_they_were_given(bench: MemoryBench) -> None:
    assert bench.consumer(Recorder(), binding="process", reply_queue="q").reply_to == "q"
    assert bench.consumer(Recorder(), binding="task", reply_queue="q").reply_to is None
