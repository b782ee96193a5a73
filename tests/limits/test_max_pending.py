"""Many threads at the limit of ``max_pending``: never more than that, and no slot is lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import ResultFuture, ResultWatcher, TooManyPendingError, WatcherStats
from bgresults.pending import reference
from tests.limits.backends import WAIT, Backend
from tests.support.results import new_id, new_ids
from tests.support.threads import in_threads
from tests.support.waiting import wait_until

THREADS = 64
LIMIT = 100


@pytest.fixture
def watcher(url: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(url, max_pending=LIMIT) as made:
        assert made.wait_ready(WAIT)
        yield made


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns in the middle of everything."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def adds_up(stats: WatcherStats) -> bool:
    return stats.watched == stats.resolved + stats.cancelled + stats.dropped


def asked_for(watcher: ResultWatcher, batch: int = 1) -> list[ResultFuture]:
    """What one call gives: all of it, or nothing."""
    try:
        return watcher.watch_many(new_ids(batch))
    except TooManyPendingError:
        return []


@pytest.mark.usefixtures("hasty")
def test_every_slot_is_given_away_once(watcher: ResultWatcher) -> None:
    """More is asked for than there is, all at once; then all of it is let go of, and asked for again."""
    for _ in range(10):
        # Whoever was refused has been refused for good, so a slot that nobody got was lost.
        given = in_threads(THREADS, lambda _: asked_for(watcher) + asked_for(watcher), WAIT)
        futures = [future for some in given for future in some]
        assert len(futures) == LIMIT
        assert watcher.pending == LIMIT
        for future in futures:
            assert future.cancel()
        assert watcher.pending == 0


@pytest.mark.usefixtures("hasty")
def test_never_more(watcher: ResultWatcher, backend: Backend) -> None:
    """Results, cancellations and drops make room all the time, and it is taken at once."""
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(watcher.pending)

    looking = threading.Thread(target=look)
    looking.start()
    held: list[list[ResultFuture]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        own = held[number]
        for turn in range(30):
            own += asked_for(watcher, 1 + number % 3)
            if own and turn % 3 == 0:
                own.pop().cancel()
            elif own and turn % 3 == 1:
                own.pop()

    try:
        assert in_threads(THREADS, work, 2 * WAIT) == [None] * THREADS
    finally:
        done.set()
        looking.join()
    assert max(seen) <= LIMIT
    kept = [future for own in held for future in own]
    wait_until(lambda: watcher.pending == len(kept), "the dropped ones to be let go of")
    for future in kept:
        backend.send(watcher, future.task_id, 1)
    assert [future.result(WAIT) for future in kept] == [1] * len(kept)
    assert watcher.pending == 0
    # Counted a moment after whoever waits for it is told.
    wait_until(lambda: adds_up(watcher.stats()), "each future to be counted once")


def test_two_calls_and_one_slot(watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one is in the middle of asking for it when the other one comes: one of them gets it."""
    kept = watcher.watch_many(new_ids(LIMIT - 1))
    others: list[Any] = []

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        others.append(asked_for(watcher))
        return reference(*arguments)

    monkeypatch.setattr("bgresults.registration.reference", meanwhile)
    with pytest.raises(TooManyPendingError):
        watcher.watch(new_id())
    assert [len(futures) for futures in others] == [1]
    assert watcher.pending == len(kept) + 1


def test_what_is_refused_was_never_registered(watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a moment: a call beside it would be refused a slot that is free."""
    kept = watcher.watch_many(new_ids(LIMIT - 1))
    registered: list[Any] = []
    monkeypatch.setattr(watcher._session.pending, "add", registered.append)
    assert not asked_for(watcher, 50)
    assert not registered
    assert watcher.pending == len(kept)


@pytest.mark.usefixtures("hasty")
def test_a_batch_that_is_too_large_takes_nobodys_slot(watcher: ResultWatcher) -> None:
    """Calls beside it find the room that there is."""
    kept = watcher.watch_many(new_ids(LIMIT - 1))
    stop = threading.Event()

    def too_many() -> None:
        while not stop.is_set():
            assert not asked_for(watcher, 50)

    asking = threading.Thread(target=too_many)
    asking.start()
    try:
        for _ in range(300):
            assert watcher.watch(new_id()).cancel()
    finally:
        stop.set()
        asking.join()
    assert watcher.pending == len(kept)
