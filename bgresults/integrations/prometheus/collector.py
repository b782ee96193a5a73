""":class:`WatcherCollector`: for a single process. Everything is read when Prometheus asks, and nothing before."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from bgresults.integrations.prometheus.families import FAMILIES, WAIT_SECONDS, Family, bounds_of, readings
from bgresults.tally import Tally, Totals

__all__ = ["WatcherCollector"]


class WatcherCollector(Collector):
    """Asks a tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def describe(self) -> Iterable[Metric]:
        """The metrics without their values: a registry looks for names that are taken."""
        return self._metrics({})

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        return self._metrics(self._tally.totals())

    def _metrics(self, totals: dict[str, Totals]) -> list[Metric]:
        metrics: list[Metric] = [_simple(family, totals) for family in FAMILIES]
        waited = HistogramMetricFamily(WAIT_SECONDS.name, WAIT_SECONDS.text, labels=WAIT_SECONDS.labels)
        bounds = bounds_of(self._tally.boundaries)
        for watcher, of_one in totals.items():
            for outcome, waits in of_one.waits.items():
                buckets = list(zip(bounds, accumulate(waits.counts), strict=True))
                waited.add_metric((watcher, outcome), buckets, waits.seconds)
        return [*metrics, waited]


def _simple(family: Family, totals: dict[str, Totals]) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for watcher, of_one in totals.items():
        for reading in readings(family, watcher, of_one):
            metric.add_metric(reading.values, reading.value)
    return metric
