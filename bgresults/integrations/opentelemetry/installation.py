""":func:`install`: have watchers tell OpenTelemetry what they wait for, and how they are doing."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from opentelemetry import metrics as api_metrics
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from bgresults.forking import leaf_lock
from bgresults.integrations.opentelemetry.carriers import Carriers
from bgresults.integrations.opentelemetry.ended import EndedWait
from bgresults.integrations.opentelemetry.many import ONE_EACH, Many
from bgresults.integrations.opentelemetry.meters import Meters
from bgresults.integrations.opentelemetry.spans import Spans, caller_context
from bgresults.integrations.opentelemetry.spool import Spool
from bgresults.observing import observe, unobserve
from bgresults.session import Session
from bgresults.tally import Tally
from bgresults.waits import Ending, WatchCall
from bgresults.watcher import ResultWatcher

__all__ = ["Installation", "install"]

_NAME = "bgresults"
# Waits whose spans are still to be made: some megabytes, with their errors.
_LIMIT = 20_000
# Seconds that a process which ends gives to its last spans.
_FAREWELL = 1.0


class _Note(NamedTuple):
    """What is noted of a call of ``watch()``."""

    session: Session
    context: Context | None
    #: Where its waits have one span together.
    many: Many | None
    #: The tally's own note.
    book: Any


class _Telemetry:
    """Observes watchers, see :mod:`bgresults.waits`, and puts down what ended, for the spool's thread."""

    def __init__(self, spans: Spans | None, meters: Meters | None, tally: Tally) -> None:
        self._spans = spans
        self._meters = meters
        self._tally = tally
        self._histogram = None if meters is None else meters.wait_duration
        self._has_work = spans is not None or self._histogram is not None
        # Those that are not complete: what has ended of them is told of at the end.
        self._unfinished: weakref.WeakSet[Many] = weakref.WeakSet()
        self.spool = Spool(self._handle, _LIMIT)

    def started(self, session: Session) -> None:
        self._tally.started(session)
        if self._has_work:
            self.spool.start()

    def begun(self, session: Session, count: int) -> _Note:
        book = self._tally.begun(session, count)
        if self._spans is None:
            return _Note(session, None, None, book)
        context = caller_context()
        many = None
        if count > ONE_EACH:
            many = Many(session, context, count)
            with leaf_lock():
                self._unfinished.add(many)
        return _Note(session, context, many, book)

    def ended(self, note: _Note, call: WatchCall, ended_at: float, endings: Sequence[Ending]) -> None:
        session, context, many, book = note
        self._tally.ended(book, call, ended_at, endings)
        if many is not None and many.ended(call.began_at, ended_at, endings):
            self.spool.put(many)
        one_each = self._spans is not None and many is None
        if not one_each and self._histogram is None:
            return
        seconds = ended_at - call.began_at
        for ending in endings:
            span = EndedWait.of((session, context), call.began_at, ended_at, ending) if one_each else None
            self.spool.put((span, session, ending[1], seconds))

    def close(self) -> None:
        """Make the spans that are due, also of calls that wait for others still, and then no more. Idempotent."""
        with leaf_lock():
            unfinished = list(self._unfinished)
        for many in unfinished:
            # Those of the process that this one was forked from are told of there.
            if many.session.pid == os.getpid() and many.give_up():
                self.spool.put(many)
        self.spool.close(_FAREWELL)

    def _handle(self, ended: Many | tuple[EndedWait | None, Session, str, float]) -> None:
        if isinstance(ended, Many):
            if self._spans is not None:
                self._spans.make_for_many(ended)
            return
        span, session, outcome, seconds = ended
        if self._histogram is not None:
            attributes = {"bgresults.watcher": session.settings.name, "bgresults.outcome": outcome}
            self._histogram.record(seconds, attributes)
        if self._spans is not None and span is not None:
            self._spans.make(span)


class Installation:
    """What :func:`install` has done; undone by :meth:`undo`, or by leaving it as a context manager. Any thread."""

    def __init__(self, telemetry: _Telemetry, carriers: Carriers, meters: Meters | None) -> None:
        self._telemetry = telemetry
        self._carriers = carriers
        self._meters = meters
        atexit.register(self._telemetry.close)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until the spans of all waits that have ended are made; False if ``timeout`` seconds were too few.

        A call that watches many tasks has its one span when the last of them has ended, or at :meth:`undo`.

        What becomes of them then is for the SDK: its ``force_flush()`` comes after this.
        """
        return self._telemetry.spool.flush(timeout)

    def undo(self) -> None:
        """Record nothing more. Idempotent. The instruments remain, and say nothing."""
        unobserve(self._telemetry)
        self._carriers.listen_no_more()
        if self._meters is not None:
            self._meters.silent = True
        atexit.unregister(self._telemetry.close)
        self._telemetry.close()

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


def install(
    watcher: ResultWatcher | None = None,
    *,
    traces: bool = True,
    metrics: bool = True,
    histogram: bool = False,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Installation:
    """Make a span of each wait, and record the metrics of docs/monitoring.md; best after the SDK was set up.

    Spans are made in a thread of our own, some tenths of a second after the wait has ended: samplers, processors and
    exporters hold up no result, and what they raise is logged.

    Args:
        watcher: whose; None for all watchers of this process and of its children, those that are made later as well.
        traces, metrics: whether.
        histogram: whether each wait is recorded in ``bgresults.wait.duration`` as well. The SDK takes longer to record
            one than this library needs for a result; without it there is the sum of all, ``bgresults.wait.time``.
        tracer_provider, meter_provider: None for the global ones.

    Raises:
        TypeError: ``watcher`` is none.
        ValueError: neither traces nor metrics are wanted; or a histogram, but no metrics.
    """
    if watcher is not None and not isinstance(watcher, ResultWatcher):
        raise TypeError(f"watcher must be a ResultWatcher or None, not {type(watcher).__name__}")
    if not traces and not metrics:
        raise ValueError("traces, metrics or both have to be wanted, not neither")
    if histogram and not metrics:
        raise ValueError("the histogram is one of the metrics, which are not wanted")
    tally, carriers = Tally(), Carriers()
    meters = (
        Meters(api_metrics.get_meter(_NAME, meter_provider=meter_provider), tally, histogram=histogram)
        if metrics
        else None
    )
    spans = Spans(trace.get_tracer(_NAME, tracer_provider=tracer_provider), carriers) if traces else None
    if traces:
        carriers.listen()
    telemetry = _Telemetry(spans, meters, tally)
    observe(telemetry, watcher)
    return Installation(telemetry, carriers, meters)
