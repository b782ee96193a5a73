""":class:`ValueFiles`: for several processes, each of which writes what it has counted to files of its own.

``prometheus_client`` reads no collector there, and asks no function: a value has to be in its file before anybody
looks. So a thread of our own writes them, every second, from what the drain threads have counted anyway: no result
costs more for it, and a file that is slow to write holds up no result.

The values are those that the metrics of ``prometheus_client`` consist of. They belong to the process that writes: one
that finds itself forked begins a new file at zero. So does what is counted here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from prometheus_client import values

from bgresults import forking
from bgresults.integrations.prometheus.families import FAMILIES, WAIT_SECONDS, Reading, bounds_of, readings
from bgresults.safe_logging import log_safely
from bgresults.tally import Tally, Totals

__all__ = ["ValueFiles", "are_used"]

_logger = logging.getLogger("bgresults")

_BOUND = "le"


class _Place(NamedTuple):
    """Where a value is: the arguments of ``ValueClass``, which are parts of a file's name and a key in it."""

    kind: str
    metric: str
    sample: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    text: str
    mode: str = ""


# One for each place in the files of this process; two for the same would write over each other.
_values: dict[_Place, Any] = {}


def are_used() -> bool:
    """Whether ``prometheus_client`` was told, before it was imported, that there are several processes."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


class ValueFiles:
    """Writes what a tally says.

    Args:
        boundaries: of the histogram, in seconds.
        interval: seconds between two times.

    Attributes:
        tally: whose totals are written.
    """

    def __init__(self, boundaries: Sequence[float], interval: float) -> None:
        self.tally = Tally(boundaries, self._start)
        self._interval = interval
        self._closed = False
        self._begin()
        forking.register(self)

    def write(self) -> None:
        """Write now. Any thread.

        Raises:
            OSError: the files cannot be written.
        """
        self._here()
        # prometheus_client has a lock, which a child that is forked meanwhile could never take: a fork waits for this.
        with forking.import_lock():
            for watcher, totals in self.tally.totals().items():
                for family in FAMILIES:
                    for reading in readings(family, watcher, totals):
                        self._write(reading)
                self._write_waits(watcher, totals)

    def close(self) -> None:
        """Write no more, after this once; what is true only while somebody writes it becomes 0."""
        self._here()
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.write()
        with forking.import_lock():
            for place in self._gauges:
                with _told_of_closed_files():
                    _value(place).set(0.0)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """In a process that has written nothing."""
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        # What was written of each counter. It only grows, and an earlier process of this id may have left some there.
        self._written: dict[_Place, float] = {}
        self._gauges: set[_Place] = set()

    def _here(self) -> None:
        if self._pid != os.getpid():
            forking.generation()
            self._after_fork_in_child()

    def _after_fork_in_child(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    def _start(self) -> None:
        """There is something to write in this process: write from now on. Idempotent."""
        self._here()
        thread = threading.Thread(target=self._run, name="bgresults-metrics", daemon=True)
        with forking.leaf_lock():
            if self._thread is not None or self._closed:
                return
            self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            self._thread = None
            log_safely(
                _logger,
                logging.WARNING,
                "metrics are not written, there is no thread for that: %s",
                error,
                event="telemetry_failed",
            )

    def _run(self) -> None:
        stop = self._stop
        failed = False
        while True:
            try:
                self.write()
                failed = False
            except Exception as error:  # noqa: BLE001 - a disk that is full, which may be mended
                if not failed:
                    failed = True
                    log_safely(
                        _logger, logging.WARNING, "metrics cannot be written: %s", error, event="telemetry_failed"
                    )
            if stop.wait(self._interval):
                return

    def _write_waits(self, watcher: str, totals: Totals) -> None:
        family = WAIT_SECONDS
        name, labels, text = family.name, family.labels, family.text
        bounds = bounds_of(self.tally.boundaries)
        for outcome, waits in totals.waits.items():
            values = (watcher, outcome)
            self._count(_Place("histogram", name, f"{name}_sum", labels, values, text), waits.seconds)
            for bound, count in zip(bounds, waits.counts, strict=True):
                bucket = _Place("histogram", name, f"{name}_bucket", (*labels, _BOUND), (*values, bound), text)
                self._count(bucket, count)

    def _write(self, reading: Reading) -> None:
        family = reading.family
        if family.kind == "counter":
            sample = f"{family.name}_total"
            self._count(
                _Place("counter", family.name, sample, family.labels, reading.values, family.text), reading.value
            )
        else:
            place = _Place("gauge", family.name, family.name, family.labels, reading.values, family.text, family.mode)
            self._gauges.add(place)
            with _told_of_closed_files():
                _value(place).set(reading.value)

    def _count(self, place: _Place, total: float) -> None:
        """Add what has been counted since this was written last."""
        more = total - self._written.get(place, 0.0)
        if more or place not in self._written:
            with _told_of_closed_files():
                _value(place).inc(more)
            self._written[place] = total


@contextmanager
def _told_of_closed_files() -> Iterator[None]:
    """A child closes the files of its parent first, and then cannot make its own: what it is told is a TypeError."""
    try:
        yield
    except TypeError as error:
        raise OSError(
            "the files of prometheus_client are closed: is the directory gone that PROMETHEUS_MULTIPROC_DIR names? "
            "It has to be there for as long as there are processes"
        ) from error


def _value(place: _Place) -> Any:
    value = _values.get(place)
    if value is None:
        *names, mode = place
        value = _values[place] = values.ValueClass(*names, multiprocess_mode=mode)
    return value
