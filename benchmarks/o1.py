"""O1: what metrics and traces cost where there is nothing but results: P4, with and without.

10 000 results of 200 bytes through ``watch_many()`` in one thread, published meanwhile. In each round the contenders
take turns, several times, and the fastest batch of each is compared with that of the plain one. Time is from the first
id to the last value; CPU is that of the whole process, and of what its threads have left to do afterwards: spans, and
what OpenTelemetry measures, are made in a thread of their own, a moment later.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bgresults.benchmarking import AtMostTimes, Lab, Question
from bgresults.benchmarking.contenders import PATIENCE, Ours
from bgresults.benchmarking.wire import new_ids

_BATCHES = 7
_SIZE = 200
# bgresults.integrations.opentelemetry.many has the same; it must not be imported yet.
ONE_EACH = 100
TIME, CPU = "time of a result", "CPU of a result"
PLAIN, COLLECTOR, FILES, METERS, HISTOGRAM, SPANS, SPAN_EACH = (
    "off",
    "prometheus",
    "prometheus, several processes",
    "otel metrics",
    "otel metrics, with the histogram",
    "otel traces",
    "otel traces, a span each",
)
# The histogram of OpenTelemetry is opt-in, as is a span for each of so many; the price of both is the SDK's own.
_JUDGED = (COLLECTOR, FILES, METERS, SPANS)


class Observed:
    """A watcher, and what observes it.

    Args:
        url: of the result backend.
        name: of the contender.
        install: given the watcher, begins to observe it; returns what there is to wait for after a batch.
    """

    def __init__(self, url: str, name: str, install: Callable[[Any], Callable[[], object]]) -> None:
        self.name = name
        self.ours = Ours(url)
        self.finish = install(self.ours.watcher)
        # More than so many in one call have one span together.
        self._together = ONE_EACH if name == SPAN_EACH else None

    def wait_all(self, task_ids: Sequence[str]) -> int:
        """Wait for them; returns how many came."""
        if self._together is None:
            return len(self.ours.wait_all(task_ids))
        watch = self.ours.watcher.watch_many
        calls = [watch(task_ids[start : start + self._together]) for start in range(0, len(task_ids), self._together)]
        return len([future.result(PATIENCE) for futures in calls for future in futures])


def measure(lab: Lab) -> None:
    """In turns."""
    with _installers() as installers:
        contenders = [Observed(lab.url, name, install) for name, install in installers.items()]
        count = lab.size(10_000)
        for contender in contenders:
            _batch(lab, contender, 500)
        for number in lab.rounds():
            took: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in contenders}
            for turn in range(_BATCHES):
                for contender in lab.in_turn(contenders, number + turn):
                    took[contender.name].append(_batch(lab, contender, count))
            # Whatever else the machine does makes a batch slower, and none faster.
            fastest = {name: [min(values) for values in zip(*pairs, strict=True)] for name, pairs in took.items()}
            for name, (seconds, cpu) in fastest.items():
                lab.record(TIME, name, seconds / count * 1e6)
                lab.record(CPU, name, cpu / count * 1e6)
        for contender in contenders:
            contender.ours.close()
    lab.note(f"{count} results, 1 thread, {_SIZE} B, fastest of {_BATCHES} batches in each round")


def _batch(lab: Lab, contender: Observed, count: int) -> tuple[float, float]:
    """Seconds that it took, and seconds of CPU until all is done."""
    task_ids = new_ids(count)
    lab.publisher.prepare(task_ids, _SIZE)
    with lab.measuring():
        cpu, started = time.process_time(), time.monotonic()
        lab.publisher.flood()
        came = contender.wait_all(task_ids)
        taken = time.monotonic() - started
        contender.finish()
        cpu = time.process_time() - cpu
    lab.publisher.sent()
    if came != count:
        raise RuntimeError(f"{contender.name}: {count} results were due, {came} came")
    with lab.server.client() as client:
        client.flushall()
    return taken, cpu


@contextmanager
def _installers() -> Iterator[dict[str, Callable[[Any], Callable[[], object]]]]:
    folder = tempfile.mkdtemp(prefix="bgresults-o1-")
    # Read by prometheus_client when it is imported, which nothing here has done yet.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    from bgresults.benchmarking.observation import collector, files, meters, spans

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(os.environ.pop, "PROMETHEUS_MULTIPROC_DIR", None)
        yield {
            PLAIN: lambda watcher: lambda: None,
            COLLECTOR: collector,
            FILES: lambda watcher: files(stack, watcher),
            METERS: lambda watcher: meters(stack, watcher),
            HISTOGRAM: lambda watcher: meters(stack, watcher, histogram=True),
            SPANS: lambda watcher: spans(stack, watcher),
            SPAN_EACH: lambda watcher: spans(stack, watcher),
        }


QUESTION = Question(
    title="metrics and traces: P4 with them and without",
    unit="µs",
    checks=[
        *(AtMostTimes(TIME, than=PLAIN, floor=1.05, goal=1.03, ours=name) for name in _JUDGED),
        # On a machine that is at work, time says little.
        *(AtMostTimes(CPU, than=PLAIN, floor=1.05, goal=1.03, ours=name) for name in _JUDGED),
    ],
    measure=measure,
)
