""":func:`install`: have watchers tell Prometheus how they are doing."""

from __future__ import annotations

import atexit
import logging
import math
import os
import weakref
from collections.abc import Iterable
from itertools import pairwise
from types import TracebackType

from prometheus_client import REGISTRY, CollectorRegistry

from bgresults.forking import leaf_lock
from bgresults.integrations.prometheus.collector import WatcherCollector
from bgresults.integrations.prometheus.files import ValueFiles, are_used
from bgresults.observing import observe, unobserve
from bgresults.options import check_seconds
from bgresults.safe_logging import log_safely
from bgresults.tally import BOUNDARIES, Tally
from bgresults.watcher import ResultWatcher

__all__ = ["Installation", "install"]

_logger = logging.getLogger("bgresults")

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

# Those whose counts went to the files of several processes, and whether it was those of all watchers.
_claimed: weakref.WeakSet[ResultWatcher] = weakref.WeakSet()
_all_claimed = False


class Installation:
    """What :func:`install` has done; undone by :meth:`undo`, or by leaving it as a context manager. Any thread."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def flush(self) -> None:
        """With several processes: write now what would be written within a second. Otherwise nothing is to be done.

        A process that ends writes by itself, unless it is killed or ends by ``os._exit()``, as the children of
        ``multiprocessing`` do.

        Raises:
            OSError: the files cannot be written.
        """

    def undo(self) -> None:
        """Export nothing more. Idempotent. With several processes it is for good, of these watchers.

        Raises:
            OSError: the files cannot be written; of several processes.
        """
        unobserve(self._tally)

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


class _SingleProcess(Installation):
    def __init__(self, tally: Tally, registry: CollectorRegistry) -> None:
        super().__init__(tally)
        self._registry = registry
        self._collector: WatcherCollector | None = WatcherCollector(tally)
        registry.register(self._collector)

    def undo(self) -> None:
        super().undo()
        collector, self._collector = self._collector, None
        if collector is not None:
            self._registry.unregister(collector)


class _SeveralProcesses(Installation):
    def __init__(self, files: ValueFiles) -> None:
        super().__init__(files.tally)
        self._files = files
        atexit.register(self._at_exit)

    def flush(self) -> None:
        self._files.write()

    def undo(self) -> None:
        super().undo()
        atexit.unregister(self._at_exit)
        self._files.close()

    def _at_exit(self) -> None:
        try:
            # What was true of this process is no more, whether somebody removes its files or not.
            self._files.close()
        except Exception as error:  # noqa: BLE001 - the directory may be gone by now
            log_safely(
                _logger, logging.WARNING, "the last metrics were not written: %s", error, event="telemetry_failed"
            )


def install(
    watcher: ResultWatcher | None = None,
    *,
    registry: CollectorRegistry = REGISTRY,
    buckets: Iterable[float] = BOUNDARIES,
    interval: float = 1.0,
) -> Installation:
    """Export the metrics of docs/monitoring.md. Before or after a fork; once in each, or once for all of them.

    In a single process, a collector in ``registry`` reads the watchers when it is asked. With
    ``PROMETHEUS_MULTIPROC_DIR`` set, a thread writes what ``prometheus_client.multiprocess.MultiProcessCollector``
    reads; it starts with the first drain thread.

    Args:
        watcher: whose; None for all watchers of this process and of its children, those that are made later as well.
            Those with the same ``name`` are added up.
        registry: of a single process; without meaning with several.
        buckets: of the histogram, in seconds; the same in all processes.
        interval: seconds between two times that values are written; without meaning in a single process.

    Raises:
        TypeError, ValueError: an argument makes no sense, ``registry`` has these metrics already, with several
            processes another ``install()`` was for one of these watchers, or ``PROMETHEUS_MULTIPROC_DIR`` is no
            directory.
        RuntimeError: ``PROMETHEUS_MULTIPROC_DIR`` was set after ``prometheus_client`` had been imported.
    """
    if watcher is not None and not isinstance(watcher, ResultWatcher):
        raise TypeError(f"watcher must be a ResultWatcher or None, not {type(watcher).__name__}")
    check_seconds("interval", interval)
    boundaries = _checked(buckets)
    directory = os.environ.get(_DIRECTORY)
    installation: Installation
    if are_used():
        if directory is not None and not os.path.isdir(directory):
            raise ValueError(f"{_DIRECTORY} must be a directory that exists, not {directory!r}")
        _claim(watcher)
        files = ValueFiles(boundaries, interval)
        tally, installation = files.tally, _SeveralProcesses(files)
    else:
        if directory is not None:
            raise RuntimeError(f"{_DIRECTORY} was set after prometheus_client had been imported, which reads it then")
        tally = Tally(boundaries)
        installation = _SingleProcess(tally, registry)
    observe(tally, watcher)
    return installation


def _claim(watcher: ResultWatcher | None) -> None:
    """Raise ValueError if what this watcher counts is written to the files of this process already, or was."""
    global _all_claimed
    with leaf_lock():
        if _all_claimed or (bool(_claimed) if watcher is None else watcher in _claimed):
            raise ValueError(
                "the metrics of this watcher are written already, or were until undo(), and would be counted twice: "
                "call install() once, before a fork or in each child"
            )
        if watcher is None:
            _all_claimed = True
        else:
            _claimed.add(watcher)


def _checked(buckets: Iterable[float]) -> tuple[float, ...]:
    allowed = "buckets must be seconds in ascending order, at least one"
    boundaries = tuple(buckets)
    for bound in boundaries:
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            raise TypeError(f"{allowed}, not {type(bound).__name__}")
    # The last one may be said, and is there anyway.
    boundaries = tuple(bound for bound in boundaries if bound != math.inf)
    # Written so that a NaN fails it.
    if not boundaries or not all(low < high for low, high in pairwise((-math.inf, *boundaries, math.inf))):
        raise ValueError(f"{allowed}, not {boundaries!r}")
    return boundaries
