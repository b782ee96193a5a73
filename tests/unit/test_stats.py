"""The counters and their snapshot."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from bgresults import ResultWatcher, WatcherStats
from bgresults.stats import Counters

#: What the documentation promises.
_NAMES = """
    pending subscribed watched resolved failed cancelled dropped expired late duplicate redelivered undecodable
    buffered evicted queues_lost reconnects recovered callback_errors connected state thread_alive
"""
FIELDS = _NAMES.split()


def snapshot(counters: Counters) -> WatcherStats:
    return counters.snapshot(pending=1, subscribed=2, connected=True, state="draining", thread_alive=True)


def test_the_fields() -> None:
    assert [field.name for field in dataclasses.fields(WatcherStats)] == FIELDS


def test_each_has_a_definition() -> None:
    documentation = inspect.getdoc(WatcherStats) or ""
    assert [name for name in FIELDS if not re.search(rf"^ +{name}: ", documentation, re.MULTILINE)] == []


def test_a_snapshot_has_everything() -> None:
    counters = Counters()
    names = [name for name in FIELDS if hasattr(counters, name)]
    assert len(names) == 16
    for number, name in enumerate(names, start=100):
        setattr(counters, name, number)
    stats = snapshot(counters)
    assert [getattr(stats, name) for name in names] == list(range(100, 116))
    assert (stats.pending, stats.subscribed, stats.connected, stats.state, stats.thread_alive) == (
        1,
        2,
        True,
        "draining",
        True,
    )


def test_a_snapshot_does_not_move() -> None:
    counters = Counters()
    stats = snapshot(counters)
    counters.resolved += 1
    assert stats.resolved == 0
    assert snapshot(counters).resolved == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.resolved = 5  # type: ignore[misc]


def test_of_a_watcher_that_did_nothing() -> None:
    watcher = ResultWatcher("redis://localhost")
    assert watcher.stats() == WatcherStats()
    assert (watcher.pending, watcher.connected, watcher.closed) == (0, False, False)


def test_of_a_closed_one() -> None:
    watcher = ResultWatcher("redis://localhost")
    watcher.close()
    stats = watcher.stats()
    assert (stats.state, stats.connected, stats.thread_alive, watcher.closed) == ("closed", False, False, True)
