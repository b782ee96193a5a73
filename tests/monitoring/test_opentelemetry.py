"""Spans in an in-memory exporter, and metrics in an in-memory reader."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bgresults import BackendUnavailableError, ResultWatcher, WatchExpiredError
from bgresults.integrations.opentelemetry import Installation, install
from bgresults.testing import RedisServer
from tests.monitoring.conftest import NAME
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.waiting import wait_until
from tests.support.workers import close_app

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meter_provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    made = MeterProvider([reader], shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.fixture
def installed(
    watcher: ResultWatcher, provider: TracerProvider, meter_provider: MeterProvider
) -> Iterator[Installation]:
    installation = install(watcher, histogram=True, tracer_provider=provider, meter_provider=meter_provider)
    yield installation
    installation.undo()


def spans(installed: Installation, exporter: InMemorySpanExporter, count: int) -> list[ReadableSpan]:
    """Of so many waits: a future has its result a moment before its end is told."""

    def found() -> list[ReadableSpan]:
        assert installed.flush(10)
        return [span for span in exporter.get_finished_spans() if span.name.startswith("wait")]

    wait_until(lambda: len(found()) >= count, f"{count} spans")
    return found()


def by_task(installed: Installation, exporter: InMemorySpanExporter, count: int) -> dict[Any, ReadableSpan]:
    found = spans(installed, exporter, count)
    return {attributes(span)["messaging.message.conversation_id"]: span for span in found}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    assert span.attributes is not None
    return dict(span.attributes)


def metrics(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Name → what was measured of it."""
    data = reader.get_metrics_data()
    return {
        metric.name: list(metric.data.data_points)
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_span_for_each_outcome(
    installed: Installation,
    exporter: InMemorySpanExporter,
    provider: TracerProvider,
    watcher: ResultWatcher,
    writer: ResultWriter,
    redis_server: RedisServer,
) -> None:
    ids = new_ids(5)
    with provider.get_tracer("a view").start_as_current_span("request") as parent:
        resolved, failed, cancelled, dropped = watcher.watch_many(ids[:4])
        expired = watcher.watch(ids[4], lifetime=0.05)
    assert watcher.wait_ready(10)
    writer.write(ids[0], 1, name="proj.tasks.build")
    writer.fail(ids[1], ValueError("no such user"))
    resolved.result(10)
    assert isinstance(failed.exception(10), ValueError)
    cancelled.cancel()
    assert isinstance(expired.exception(10), WatchExpiredError)
    del dropped
    wait_until(lambda: watcher.stats().dropped == 1, "the dropped one to be counted")
    found = by_task(installed, exporter, 5)
    assert set(found) == set(ids)
    outcomes = [attributes(found[task_id])["bgresults.outcome"] for task_id in ids]
    assert outcomes == ["resolved", "failed", "cancelled", "dropped", "expired"]
    for span in found.values():
        assert span.parent is not None
        assert (span.parent.span_id, span.context.trace_id) == (parent.get_span_context().span_id, span.parent.trace_id)
        assert span.kind is SpanKind.CLIENT
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0 < span.end_time - span.start_time < 20e9
    assert found[ids[0]].status.status_code is StatusCode.UNSET
    assert found[ids[0]].name == "wait proj.tasks.build"
    assert found[ids[1]].name == f"wait {NAME}"
    common = {
        "messaging.system": "redis",
        "messaging.operation.name": "wait",
        "messaging.operation.type": "receive",
        "messaging.destination.temporary": True,
        "messaging.destination.template": "celery-task-meta-{task_id}",
        "server.address": "127.0.0.1",
        "server.port": redis_server.port,
        "bgresults.watcher": NAME,
    }
    assert attributes(found[ids[0]]) == {
        **common,
        "messaging.message.conversation_id": ids[0],
        "celery.task_name": "proj.tasks.build",
        "celery.state": "SUCCESS",
        "bgresults.outcome": "resolved",
    }
    wrong = found[ids[1]]
    assert (wrong.status.status_code, wrong.status.description) == (StatusCode.ERROR, "ValueError: no such user")
    assert attributes(wrong)["error.type"] == "builtins.ValueError"
    assert attributes(wrong)["celery.state"] == "FAILURE"
    (event,) = wrong.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "no such user"
    assert attributes(found[ids[4]])["error.type"].endswith("WatchExpiredError")
    assert found[ids[4]].status.status_code is StatusCode.ERROR
    assert [found[task_id].status.status_code for task_id in ids[2:4]] == [StatusCode.UNSET] * 2


def test_without_a_current_span_it_is_the_root(
    installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id)
    future.result(10)
    (span,) = spans(installed, exporter, 1)
    assert span.parent is None
    # And nothing of it is left behind, here or in the thread that makes them.
    assert not trace.get_current_span().get_span_context().is_valid


def test_linked_to_a_stamped_context(
    installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
) -> None:
    """What ``result_extended`` stores of a task that was stamped with a traceparent."""
    ids = new_ids(2)
    futures = watcher.watch_many(ids)
    writer.write(ids[0], stamped_headers=["traceparent"], traceparent=[TRACEPARENT])
    writer.write(ids[1], stamped_headers=["traceparent"], traceparent=["nonsense"])
    for future in futures:
        future.result(10)
    found = by_task(installed, exporter, 2)
    (link,) = found[ids[0]].links
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == TRACEPARENT[3:-3]
    assert not found[ids[1]].links


def test_linked_to_what_this_process_has_sent(
    installed: Installation,
    exporter: InMemorySpanExporter,
    provider: TracerProvider,
    redis_server: RedisServer,
    key_prefix: str,
) -> None:
    """As Celery's instrumentation puts it into the headers, before the task is sent."""
    from celery import Celery
    from celery.signals import before_task_publish

    app = Celery("sender", broker="memory://", backend=redis_server.url(), set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": key_prefix}

    def inject(headers: Any = None, **_: Any) -> None:
        with provider.get_tracer("celery").start_as_current_span("apply_async"):
            propagate.inject(headers)

    before_task_publish.connect(inject)
    watcher = ResultWatcher.from_celery(app, name=NAME)
    again = install(watcher, tracer_provider=provider, metrics=False)
    writer = ResultWriter(redis_server, key_prefix)
    try:
        submitted: Any = watcher.submit("proj.tasks.build")
        sent = app.send_task("proj.tasks.other")
        watched = watcher.watch(sent.id)
        writer.write(submitted.task_id)
        writer.write(sent.id)
        submitted.result(10)
        watched.result(10)
        found = by_task(again, exporter, 2)
        producers = [span.context.span_id for span in exporter.get_finished_spans() if span.name == "apply_async"]
        names = ["wait proj.tasks.build", "wait proj.tasks.other"]
        assert [found[task_id].name for task_id in (submitted.task_id, sent.id)] == names
        assert [found[task_id].links[0].context.span_id for task_id in (submitted.task_id, sent.id)] == producers
    finally:
        before_task_publish.disconnect(inject)
        again.undo()
        watcher.close()
        writer.close()
        close_app(app)


class TestMany:
    """Of a call that watches more than a hundred tasks."""

    def test_one_span_when_the_last_has_ended(
        self,
        installed: Installation,
        exporter: InMemorySpanExporter,
        provider: TracerProvider,
        watcher: ResultWatcher,
        writer: ResultWriter,
    ) -> None:
        ids = new_ids(200)
        with provider.get_tracer("a view").start_as_current_span("request") as parent:
            futures = watcher.watch_many(ids)
        for task_id in ids[:-3]:
            writer.write(task_id, stamped_headers=["traceparent"], traceparent=[TRACEPARENT])
        for future in futures[:-3]:
            future.result(10)
        writer.fail(ids[-3], ValueError("no such user"))
        writer.fail(ids[-2], KeyError("x"))
        futures[-3].exception(10)
        futures[-2].exception(10)
        assert installed.flush(10)
        assert [span.name for span in exporter.get_finished_spans()] == ["request"]
        futures[-1].cancel()
        (span,) = spans(installed, exporter, 1)
        found = attributes(span)
        assert found["messaging.batch.message_count"] == 200
        outcomes = {key: value for key, value in found.items() if key.startswith("bgresults.outcome")}
        assert outcomes == {
            "bgresults.outcome.resolved": 197,
            "bgresults.outcome.failed": 2,
            "bgresults.outcome.cancelled": 1,
        }
        assert "messaging.message.conversation_id" not in found
        assert (found["error.type"], found["bgresults.watcher"]) == ("builtins.ValueError", NAME)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no such user")
        assert [(event.attributes or {})["exception.type"] for event in span.events] == ["ValueError", "KeyError"]
        assert (span.name, span.kind) == (f"wait {NAME}", SpanKind.CLIENT)
        assert span.parent is not None
        assert span.parent.span_id == parent.get_span_context().span_id
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACEPARENT[3:35]] * 128

    def test_a_hundred_have_one_each(
        self, installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
    ) -> None:
        ids = new_ids(100)
        futures = watcher.watch_many(ids)
        for task_id in ids:
            writer.write(task_id)
        for future in futures:
            future.result(10)
        assert set(by_task(installed, exporter, 100)) == set(ids)

    def test_with_the_watcher_they_end(
        self, installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher
    ) -> None:
        futures = watcher.watch_many(new_ids(150))
        watcher.close()
        (span,) = spans(installed, exporter, 1)
        assert attributes(span)["bgresults.outcome.failed"] == len(futures)
        # As many as help.
        assert len(span.events) == 10

    def test_what_has_ended_of_them_is_told_of_at_the_end(
        self, installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
    ) -> None:
        ids = new_ids(150)
        futures = watcher.watch_many(ids)
        writer.write(ids[0])
        futures[0].result(10)
        wait_until(lambda: watcher.stats().resolved == 1, "the result to be counted")
        # What comes after it on the drain thread is told of after it.
        again = watcher.watch(new_id())
        writer.write(again.task_id)
        again.result(10)
        spans(installed, exporter, 1)
        installed.undo()
        (one,) = [span for span in exporter.get_finished_spans() if "messaging.batch.message_count" in attributes(span)]
        found = attributes(one)
        assert (found["messaging.batch.message_count"], found["bgresults.outcome.resolved"]) == (150, 1)

    def test_a_forked_child_tells_nothing_of_them(
        self, installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
    ) -> None:
        ids = new_ids(150)
        futures = watcher.watch_many(ids)
        writer.write(ids[0])
        futures[0].result(10)
        # What comes after it on the drain thread is told of after it.
        again = watcher.watch(new_id())
        writer.write(again.task_id)
        again.result(10)
        spans(installed, exporter, 1)

        def child() -> None:
            exporter.clear()
            # In use here as well, so that somebody makes the spans of this process.
            own = watcher.watch(new_id())
            writer.write(own.task_id)
            own.result(10)
            assert set(by_task(installed, exporter, 1)) == {own.task_id}
            installed.undo()
            assert len(exporter.get_finished_spans()) == 1

        assert run_in_child(child) == 0
        installed.undo()
        assert len(exporter.get_finished_spans()) == 2

    def test_nothing_of_the_caller_is_kept(
        self, installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
    ) -> None:
        """An exception that was raised holds the frames of who waited, with all of his futures."""
        ids = new_ids(150)
        writer.fail(ids[0], ValueError("no such user"))

        def view() -> None:
            futures = watcher.watch_many(ids)
            with pytest.raises(ValueError, match="no such user"):
                [future.result(10) for future in futures]

        view()
        # The thread may have had the exception in its hands the first time.
        wait_until(lambda: gc.collect() >= 0 and watcher.stats().dropped == 149, "the others to be dropped")
        (span,) = spans(installed, exporter, 1)
        assert span.status.description == "ValueError: no such user"

    def test_all_are_measured(
        self,
        installed: Installation,
        exporter: InMemorySpanExporter,
        reader: InMemoryMetricReader,
        watcher: ResultWatcher,
    ) -> None:
        futures = watcher.watch_many(new_ids(150))
        watcher.close()
        spans(installed, exporter, 1)
        (duration,) = metrics(reader)["bgresults.wait.duration"]
        assert duration.count == len(futures)


class Trouble(SpanProcessor):
    """Blocks, and then raises."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.called = threading.Event()

    def on_end(self, span: ReadableSpan) -> None:
        self.called.set()
        assert self.may_go_on.wait(20)
        raise SystemExit("an exporter's idea")


def test_a_processor_that_blocks_and_raises_holds_up_nobody(
    watcher: ResultWatcher, writer: ResultWriter, caplog: pytest.LogCaptureFixture
) -> None:
    provider, trouble = TracerProvider(shutdown_on_exit=False), Trouble()
    provider.add_span_processor(trouble)
    with install(watcher, tracer_provider=provider, metrics=False) as installed:
        for number in range(3):
            future = watcher.watch(new_id())
            writer.write(future.task_id, number)
            assert future.result(10) == number
        assert trouble.called.wait(10)
        assert not installed.flush(0.01)
        with caplog.at_level(logging.WARNING, logger="bgresults"):
            trouble.may_go_on.set()
            assert installed.flush(10)
    assert [record.getMessage() for record in caplog.records] == ['telemetry failed: SystemExit("an exporter\'s idea")']


def test_a_forked_child_has_its_own(
    installed: Installation, exporter: InMemorySpanExporter, watcher: ResultWatcher, writer: ResultWriter
) -> None:
    ids = new_ids(3)
    kept, ended = watcher.watch_many(ids[:2])
    writer.write(ids[1])
    ended.result(10)

    def child() -> None:
        # What the parent has put down, and has not told of yet perhaps, is the parent's.
        exporter.clear()
        future = watcher.watch(ids[2])
        writer.write(ids[2])
        future.result(10)
        assert set(by_task(installed, exporter, 1)) == {ids[2]}

    assert run_in_child(child) == 0
    writer.write(ids[0])
    kept.result(10)
    assert set(by_task(installed, exporter, 2)) == set(ids[:2])


def test_refused_and_failed(own_redis: RedisServer, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    own_redis.kill()
    with (
        ResultWatcher(own_redis.url(), name="orders", on_disconnect="fail") as watcher,
        install(watcher, tracer_provider=provider, metrics=False) as installed,
    ):
        for _ in range(2):
            assert isinstance(watcher.watch(new_id()).exception(10), BackendUnavailableError)
        found = spans(installed, exporter, 2)
        assert sorted(attributes(span)["bgresults.outcome"] for span in found) == ["failed", "refused"]
        assert {span.status.status_code for span in found} == {StatusCode.ERROR}


def test_metrics(
    installed: Installation,
    exporter: InMemorySpanExporter,
    reader: InMemoryMetricReader,
    watcher: ResultWatcher,
    writer: ResultWriter,
) -> None:
    assert not any(metrics(reader).values())
    first, pending = watcher.watch_many(new_ids(2))
    writer.write(first.task_id)
    first.result(10)
    spans(installed, exporter, 1)
    found = metrics(reader)
    (point,) = found["bgresults.pending"]
    assert (point.value, dict(point.attributes)) == (1, {"bgresults.watcher": NAME})
    ended = {point.attributes["bgresults.outcome"]: point.value for point in found["bgresults.ended"]}
    assert ended == {"resolved": 1, "failed": 0, "cancelled": 0, "dropped": 0, "expired": 0, "refused": 0}
    (duration,) = found["bgresults.wait.duration"]
    labels = {"bgresults.watcher": NAME, "bgresults.outcome": "resolved"}
    assert (duration.count, dict(duration.attributes)) == (1, labels)
    (time,) = found["bgresults.wait.time"]
    assert (time.value, dict(time.attributes)) == (pytest.approx(duration.sum), labels)
    (connected,) = found["bgresults.connected"]
    assert connected.value == 1
    assert sum(point.value for point in found["bgresults.state"]) == 1
    pending.cancel()
    installed.undo()
    assert "bgresults.pending" not in {name for name, points in metrics(reader).items() if points}


def test_the_histogram_is_asked_for(
    provider: TracerProvider,
    reader: InMemoryMetricReader,
    meter_provider: MeterProvider,
    watcher: ResultWatcher,
    writer: ResultWriter,
) -> None:
    with install(watcher, traces=False, meter_provider=meter_provider):
        future = watcher.watch(new_id())
        writer.write(future.task_id)
        future.result(10)
        assert not [thread for thread in threading.enumerate() if thread.name == "bgresults-telemetry"]
        wait_until(lambda: metrics(reader).get("bgresults.wait.time"), "the sum of all waits")
        assert "bgresults.wait.duration" not in metrics(reader)
    with pytest.raises(ValueError, match="not wanted"):
        install(watcher, metrics=False, histogram=True)


def test_the_callers_span_is_not_kept(
    installed: Installation, exporter: InMemorySpanExporter, provider: TracerProvider, watcher: ResultWatcher
) -> None:
    import weakref

    span = provider.get_tracer("a view").start_span("request")
    gone = weakref.ref(span)
    with trace.use_span(span, end_on_exit=True):
        future = watcher.watch(new_id())
    exporter.clear()
    del span
    assert gone() is None
    future.cancel()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"watcher": "redis://"}, TypeError, "watcher must be a ResultWatcher or None, not str"),
        ({"traces": False, "metrics": False}, ValueError, "traces, metrics or both"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        install(**arguments)
