"""Watching replies that come through RabbitMQ, to one queue of this process."""

from __future__ import annotations

import datetime
import decimal
import gc
import time
import uuid
from collections.abc import Iterator
from typing import Any

import kombu.compression
import kombu.serialization
import pytest

from bgresults import (
    AMQPOptions,
    ResultDecodeError,
    ResultWatcher,
    TaskMeta,
    TaskRevokedError,
    WatcherClosedError,
    WatchExpiredError,
)
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids, state_body
from tests.support.threads import in_threads

pytestmark = pytest.mark.rabbitmq

WAIT = 20
# kombu has no types of its own.
_dumps: Any = kombu.serialization.dumps
_compress: Any = kombu.compression.compress


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


@pytest.fixture
def watcher(rabbitmq_url: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as made:
        yield made


def settled(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    """Everything that was sent before has been handled: replies come in order."""
    marker = new_id()
    writer.write(watcher.reply_to, marker, "marker")
    assert watcher.watch(marker).result(WAIT) == "marker"


class TestStates:
    def test_before_and_after_the_watch(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        before, after = new_ids(2)
        writer.write(watcher.reply_to, before, {"rows": [1]})
        settled(watcher, writer)
        future = watcher.watch(after)
        writer.write(watcher.reply_to, after, 2)
        assert watcher.watch(before).result(WAIT) == {"rows": [1]}
        assert future.result(WAIT) == 2
        assert future.status == "SUCCESS"
        assert future.meta is not None
        assert future.meta.task_id == after

    def test_a_second_watch_of_what_was_resolved(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id, failed = new_ids(2)
        first = watcher.watch(task_id)
        writer.write(watcher.reply_to, task_id, [1])
        writer.fail(watcher.reply_to, failed, KeyError("k"))
        assert first.result(WAIT) == [1]
        for _ in range(3):
            again = watcher.watch(task_id).result(WAIT)
            assert again == [1]
            assert again is not first.result()
        errors = [watcher.watch(failed).exception(WAIT) for _ in range(2)]
        assert [type(error) for error in errors] == [KeyError, KeyError]
        assert errors[0] is not errors[1]
        wait_until(lambda: watcher.stats().subscribed == 0, "nothing to be asked for")

    def test_a_late_watch_does_not_wait_for_the_next_heartbeat(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        """Its reply is here; nothing that comes over the connection would wake the thread."""
        with ResultWatcher(rabbitmq_url, amqp=AMQPOptions(heartbeat=120), connect_timeout=WAIT) as watcher:
            task_id = new_id()
            writer.write(watcher.reply_to, task_id, 1)
            settled(watcher, writer)
            for _ in range(5):
                assert watcher.watch(task_id).result(WAIT / 2) == 1

    def test_each_final_status(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        succeeded, failed, revoked = (watcher.watch(task_id) for task_id in new_ids(3))
        queue = watcher.reply_to
        writer.write(queue, succeeded.task_id, None)
        writer.fail(queue, failed.task_id, ZeroDivisionError("by zero"), traceback="Traceback of the worker")
        described = {
            "exc_type": "TaskRevokedError",
            "exc_message": ["terminated"],
            "exc_module": "celery.exceptions",
        }
        writer.write(queue, revoked.task_id, described, "REVOKED")
        assert succeeded.result(WAIT) is None
        with pytest.raises(ZeroDivisionError, match="by zero") as caught:
            failed.result(WAIT)
        assert "Traceback of the worker" in str(caught.value.__cause__)
        with pytest.raises(TaskRevokedError, match="terminated"):
            revoked.result(WAIT)
        assert [future.status for future in (succeeded, failed, revoked)] == ["SUCCESS", "FAILURE", "REVOKED"]

    def test_every_state_in_order(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        states: list[TaskMeta] = []
        future = watcher.watch(task_id, on_update=states.append)
        stream = watcher.updates(task_id, timeout=WAIT)
        queue = watcher.reply_to
        writer.write(queue, task_id, {"pid": 1}, "STARTED")
        for number in range(100):
            writer.write(queue, task_id, {"done": number}, "PROGRESS")
        writer.write(queue, task_id, {"exc_type": "Retry", "exc_message": [], "exc_module": "x"}, "RETRY")
        writer.write(queue, task_id, "end")
        assert future.result(WAIT) == "end"
        names = ["STARTED", *["PROGRESS"] * 100, "RETRY", "SUCCESS"]
        assert [meta.status for meta in states] == names
        assert [meta.result["done"] for meta in states[1:101]] == list(range(100))
        assert [meta.status for meta in stream] == names

    def test_states_that_nobody_watched_come_in_order(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        running, ended = new_ids(2)
        queue = watcher.reply_to
        for number in range(10):
            writer.write(queue, running, number, "PROGRESS")
            writer.write(queue, ended, number, "PROGRESS")
        writer.write(queue, ended, "end")
        settled(watcher, writer)
        assert [meta.result for meta in watcher.updates(ended, timeout=WAIT)] == [*range(10), "end"]
        stream = watcher.updates(running, timeout=WAIT)
        writer.write(queue, running, "end")
        assert [meta.result for meta in stream] == [*range(10), "end"]
        assert watcher.stats().buffered >= 21

    def test_what_comes_after_the_end_is_counted_and_dropped(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        future = watcher.watch(task_id)
        writer.write(watcher.reply_to, task_id, "end")
        writer.write(watcher.reply_to, task_id, 1, "PROGRESS")
        settled(watcher, writer)
        assert future.result(WAIT) == "end"
        assert watcher.stats().duplicate == 1
        assert [meta.status for meta in watcher.updates(task_id, timeout=WAIT)] == ["SUCCESS"]

    def test_many_futures_of_one_id(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        futures = in_threads(50, lambda _: watcher.watch(task_id))
        writer.write(watcher.reply_to, task_id, "for all")
        assert in_threads(50, lambda number: futures[number].result(WAIT)) == ["for all"] * 50

    def test_a_large_body(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        """Many frames."""
        text = "x" * (4 * 1024 * 1024)
        task_id = new_id()
        future = watcher.watch(task_id)
        writer.write(watcher.reply_to, task_id, text)
        settled(watcher, writer)
        assert future.result(WAIT) == text


VALUES = {
    "when": datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc),
    "id": uuid.UUID(int=7),
    "price": decimal.Decimal("1.10"),
}


class TestBodies:
    @pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "yaml"])
    @pytest.mark.parametrize("compression", [None, "zlib", "bzip2"])
    def test_serializers(
        self, rabbitmq_url: str, writer: ReplyWriter, serializer: str, compression: str | None
    ) -> None:
        value: Any = VALUES if serializer in {"json", "pickle"} else {"rows": [1, "ü", None, 1.5]}
        task_id = new_id()
        state = {"task_id": task_id, "status": "SUCCESS", "result": value, "traceback": None, "children": []}
        content_type, encoding, body = _dumps(state, serializer=serializer)
        headers = {}
        if compression:
            body, headers["compression"] = _compress(body, compression)
        elif isinstance(body, str):
            body = body.encode()
        with ResultWatcher(rabbitmq_url, accept=["json", serializer], connect_timeout=WAIT) as watcher:
            future = watcher.watch(task_id)
            writer.write_raw(
                watcher.reply_to, body, content_type=content_type, content_encoding=encoding, headers=headers
            )
            assert future.result(WAIT) == value
            # Kept as it came, and read once more.
            assert watcher.watch(task_id).result(WAIT) == value

    def test_what_is_not_accepted(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        content_type, encoding, body = _dumps(
            {"task_id": task_id, "status": "SUCCESS", "result": 1}, serializer="pickle"
        )
        future = watcher.watch(task_id)
        properties: dict[str, Any] = {"content_type": content_type, "content_encoding": encoding}
        writer.write_raw(watcher.reply_to, body, correlation_id=task_id, **properties)
        with pytest.raises(ResultDecodeError, match=r"python-serialize.*not accepted"):
            future.result(WAIT)

    @pytest.mark.parametrize("watched", ["before", "after"])
    @pytest.mark.parametrize(
        "properties",
        [
            {"body": b"{"},
            {"body": b""},
            {"body": b"\xff\xfe"},
            {"body": b"[1, 2]"},
            {"body": b'{"status": "SUCCESS", "result": 1}'},
            {"body": b'{"task_id": 1, "status": "SUCCESS", "result": 1}'},
            {"body": b'{"task_id": "%s", "status": 3, "result": 1}'},
            {"body": b'{"task_id": "%s", "result": 1}'},
            {"body": b"no zip", "headers": {"compression": "zlib"}},
            {"body": b"no such thing", "headers": {"compression": "application/x-no-such"}},
            {"body": b"x", "content_type": "application/x-no-such"},
            {"body": b"{}", "content_encoding": "no-such-encoding"},
            {"body": b"{}", "content_type": None, "content_encoding": None},
        ],
    )
    def test_what_cannot_be_read_hurts_only_its_own_id(
        self, watcher: ResultWatcher, writer: ReplyWriter, properties: dict[str, Any], watched: str
    ) -> None:
        bad, good = new_ids(2)
        bystander = watcher.watch(good)
        future = watcher.watch(bad) if watched == "before" else None
        settings = {**properties, "body": properties["body"].replace(b"%s", bad.encode())}
        writer.write_raw(watcher.reply_to, correlation_id=bad, **settings)
        settled(watcher, writer)
        assert watcher.stats().undecodable == 1
        with pytest.raises(ResultDecodeError):
            (future or watcher.watch(bad)).result(WAIT)
        assert not bystander.done()
        writer.write(watcher.reply_to, good, 1)
        assert bystander.result(WAIT) == 1

    def test_without_a_correlation_id_nobody_is_told(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        future = watcher.watch(new_id())
        writer.write_raw(watcher.reply_to, b"{")
        settled(watcher, writer)
        assert watcher.stats().undecodable == 1
        assert not future.done()

    def test_the_body_decides_whose_it_is(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        """Celery's request id is the correlation id, and may be that of another task."""
        inner, outer = new_ids(2)
        future, other = watcher.watch(inner), watcher.watch(outer)
        writer.write_raw(watcher.reply_to, state_body(inner, result=1), correlation_id=outer)
        assert future.result(WAIT) == 1
        assert not other.done()


class TestEndingAWatch:
    def test_cancelled_dropped_expired(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        cancelled, expired, dropped = (watcher.watch(task_id) for task_id in new_ids(3))
        ids = [cancelled.task_id, expired.task_id, dropped.task_id]
        short = watcher.watch(expired.task_id, lifetime=0.05)
        wait_until(lambda: watcher.stats().subscribed == 3, "the three")
        assert cancelled.cancel()
        assert expired.cancel()
        assert isinstance(short.exception(WAIT), WatchExpiredError)
        del dropped
        gc.collect()
        wait_until(lambda: watcher.stats().subscribed == 0, "none")
        for task_id in ids:
            writer.write(watcher.reply_to, task_id, task_id)
        settled(watcher, writer)
        # Kept for somebody who asks again.
        assert [watcher.watch(task_id).result(WAIT) for task_id in ids] == ids
        stats = watcher.stats()
        assert (stats.cancelled, stats.expired, stats.dropped) == (2, 1, 1)

    def test_close_ends_what_is_pending_and_deletes_the_queue(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        watcher = ResultWatcher(rabbitmq_url, connect_timeout=WAIT)
        future = watcher.watch(new_id())
        queue = watcher.reply_to
        assert writer.consumers(queue) == 1
        started = time.monotonic()
        watcher.close(timeout=WAIT)
        assert time.monotonic() - started < 5
        assert isinstance(future.exception(0), WatcherClosedError)
        # It does not wait for the broker to have done it.
        wait_until(lambda: not writer.exists(queue), "the queue to be deleted")

    def test_a_dropped_watcher_deletes_its_queue(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        watcher = ResultWatcher(rabbitmq_url, connect_timeout=WAIT)
        queue = watcher.reply_to
        assert writer.exists(queue)
        del watcher
        gc.collect()
        wait_until(lambda: not writer.exists(queue), "the queue to be deleted")
