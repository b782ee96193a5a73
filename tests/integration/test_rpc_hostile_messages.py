"""Messages that no worker sends: each hurts its own future, and the connection stays."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import amqp
import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Producer

from bgresults import AMQPOptions, ResultDecodeError, ResultWatcher
from bgresults.consumers.rpc.messages import keep_compressed
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids, state_body

pytestmark = pytest.mark.rabbitmq

WAIT = 20
MIB = 1024 * 1024
# kombu has no types of its own.
_Connection: Any = Connection
_Queue: Any = Queue
_Producer: Any = Producer


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


@pytest.fixture(params=["process", "task"])
def watcher(request: pytest.FixtureRequest, rabbitmq_url: str) -> Iterator[ResultWatcher]:
    amqp = AMQPOptions(binding=request.param)
    with ResultWatcher(rabbitmq_url, amqp=amqp, max_body_size=MIB, connect_timeout=WAIT) as made:
        yield made


class TestCompressedBodies:
    def test_are_read(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        """Now, and once more for who watches later."""
        task_id = new_id()
        future = watcher.watch(task_id)
        writer.write_raw(
            watcher.declare_for(task_id),
            zlib.compress(state_body(task_id, result=[1])),
            correlation_id=task_id,
            headers={"compression": "application/x-gzip"},
        )
        assert future.result(WAIT) == [1]
        assert watcher.watch(task_id).result(WAIT) == [1]

    def test_are_kept_as_they_came(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        """What nobody watches yet takes the room of what was sent."""
        task_id = new_id()
        writer.write_raw(
            watcher.declare_for(task_id),
            zlib.compress(state_body(task_id, result="x" * (MIB // 2))),
            headers={"compression": "gzip"},
        )
        if watcher.reply_to is not None:
            wait_until(lambda: watcher.stats().buffered == 1, "the reply")
        assert len(watcher.watch(task_id).result(WAIT)) == MIB // 2

    @pytest.mark.parametrize("method", ["gzip", "no/such", 5, ["gzip"], {"a": 1}])
    def test_that_are_bombs_or_broken(self, watcher: ResultWatcher, writer: ReplyWriter, method: Any) -> None:
        bad, good = new_ids(2)
        futures = watcher.watch_many([bad, good])
        queues = [watcher.declare_for(task_id) for task_id in (bad, good)]
        writer.write_raw(queues[0], zlib.compress(bytes(8 * MIB)), correlation_id=bad, headers={"compression": method})
        writer.write(queues[1], good, 1)
        assert futures[1].result(WAIT) == 1
        error = futures[0].exception(WAIT)
        assert isinstance(error, ResultDecodeError)
        assert ("max_body_size" in str(error)) == (method == "gzip")
        assert watcher.stats().reconnects == 0

    def test_through_a_virtual_transport(self) -> None:
        with ResultWatcher("memory://", max_body_size=MIB) as watcher:
            task_ids = new_ids(2)
            futures = watcher.watch_many(task_ids)
            queue = watcher.reply_to
            writer = ReplyWriter("memory://")
            for task_id, body in zip(task_ids, (state_body(task_ids[0], result=1), bytes(8 * MIB)), strict=True):
                writer.write_raw(queue, zlib.compress(body), correlation_id=task_id, headers={"compression": "gzip"})
            assert futures[0].result(WAIT) == 1
            assert "max_body_size" in str(futures[1].exception(WAIT))
            assert watcher.stats().reconnects == 0
            writer.close()


def test_what_goes_back_into_a_virtual_queue_is_marked_as_compressed() -> None:
    """Such a transport puts back what it has made of a message, not what it had got."""
    connection = _Connection(f"memory://{new_id()}")
    channel = connection.channel()
    keep_compressed(channel)
    queue = _Queue("replies").bind(channel)
    queue.declare()
    _Producer(channel).publish({"a": 1}, exchange="", routing_key="replies", compression="gzip", headers={"b": 2})
    for _ in range(2):
        message = queue.get()
        assert zlib.decompress(message.body) == b'{"a": 1}'
        assert (message.compression, message.headers) == ("application/x-gzip", {"b": 2})
        message.requeue()
    connection.release()


class EncodedMessage(amqp.Message):  # type: ignore[misc]
    """One whose properties are encoded already."""

    def __init__(self, body: bytes, encoded: bytes) -> None:
        super().__init__(body)
        self._encoded = encoded

    def _serialize_properties(self) -> bytes:
        return self._encoded


def headers(entry: bytes) -> bytes:
    """Properties with one header, of which RabbitMQ looks at the type and the size only."""
    return b"\x20\x00" + len(entry).to_bytes(4, "big") + entry


class TestUnreadableProperties:
    """py-amqp raises for them while it reads the connection, and the broker would deliver them again and again."""

    @pytest.mark.parametrize(
        "properties",
        [b"\x04\x00\x02\xff\xfe", b"\x80\x00\x01\xff", b"\x00\x80\x01\xff", headers(b"\x04whenT" + b"\xff" * 8)],
        ids=["correlation_id", "content_type", "message_id", "a timestamp"],
    )
    def test_are_left_out(self, watcher: ResultWatcher, writer: ReplyWriter, properties: bytes) -> None:
        """The body says whose result it is."""
        task_id = new_id()
        future = watcher.watch(task_id)
        message = EncodedMessage(state_body(task_id, result=1), properties)
        writer.write_message(watcher.declare_for(task_id), message)
        assert future.result(WAIT) == 1
        assert watcher.stats().reconnects == 0

    def test_of_a_message_without_a_body(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        future = watcher.watch(task_id)
        queue = watcher.declare_for(task_id)
        writer.write_message(queue, EncodedMessage(b"", b"\x04\x00\x02\xff\xfe"))
        writer.write(queue, task_id, 1)
        assert future.result(WAIT) == 1
        assert watcher.stats().undecodable == 1
        assert watcher.stats().reconnects == 0
