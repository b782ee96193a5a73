"""Watchers that are observed, in the ways there are: the contenders of the question what that costs.

Each function begins to observe a watcher, and returns what waits until everything has been done that a batch has left
to do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bgresults import ResultWatcher
from bgresults.observing import observe
from bgresults.tally import Tally

__all__ = ["collector", "files", "meters", "spans"]

Finish = Callable[[], object]


def collector(watcher: ResultWatcher) -> Finish:
    """Prometheus, one process; scraped after each batch."""
    from bgresults.integrations.prometheus.collector import WatcherCollector

    tally = Tally()
    observe(tally, watcher)
    return WatcherCollector(tally).collect


def files(stack: ExitStack, watcher: ResultWatcher) -> Finish:
    """Prometheus, several processes. ``PROMETHEUS_MULTIPROC_DIR`` was set before the import."""
    from bgresults.integrations.prometheus import install

    installation = stack.enter_context(install(watcher))
    return installation.flush


def meters(stack: ExitStack, watcher: ResultWatcher, *, histogram: bool = False) -> Finish:
    """OpenTelemetry's metrics, into memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from bgresults.integrations.opentelemetry import install

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    stack.callback(provider.shutdown)
    installation = stack.enter_context(install(watcher, traces=False, histogram=histogram, meter_provider=provider))

    def finish() -> Any:
        installation.flush(60)
        return reader.get_metrics_data()

    return finish


def spans(stack: ExitStack, watcher: ResultWatcher) -> Finish:
    """OpenTelemetry's spans, through the processor that is meant for that, to an exporter that does nothing."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from bgresults.integrations.opentelemetry import install

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100_000))
    stack.callback(provider.shutdown)
    installation = stack.enter_context(install(watcher, metrics=False, tracer_provider=provider))

    def finish() -> None:
        installation.flush(60)
        provider.force_flush()

    return finish
