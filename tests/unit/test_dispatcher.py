"""Handing the interpreter's lock over to the threads that were woken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bgresults import dispatcher as module
from bgresults.dispatcher import Dispatcher
from bgresults.futures import ResultFuture
from bgresults.pending import PendingResults, reference
from bgresults.stats import Counters


class Clock:
    """Stands still, but for as long as the lock is away."""

    def __init__(self) -> None:
        self.now = 100.0
        self.away = 0.0
        self.handed_over = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds == 0
        self.handed_over += 1
        self.now += self.away


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "_sleep", made.sleep)
    return made


@pytest.fixture
def pending() -> PendingResults:
    return PendingResults()


@pytest.fixture
def dispatcher(pending: PendingResults) -> Dispatcher:
    session: Any = SimpleNamespace(pending=pending, counters=Counters())
    return Dispatcher(session)


def resolve(dispatcher: Dispatcher, pending: PendingResults, *, waited_for: bool) -> None:
    future = ResultFuture("a", None)
    pending.add(reference(future, lambda _: None, None))
    if waited_for:
        with pytest.raises(TimeoutError):
            future.result(0)
    dispatcher.on_state("a", {"task_id": "a", "status": "SUCCESS", "result": 1})
    assert future.result(0) == 1
    dispatcher.let_them_run()


def test_once_for_each_turn_in_which_somebody_was_woken(
    clock: Clock, dispatcher: Dispatcher, pending: PendingResults
) -> None:
    resolve(dispatcher, pending, waited_for=True)
    assert clock.handed_over == 1
    dispatcher.let_them_run()
    assert clock.handed_over == 1


def test_not_where_nobody_waits(clock: Clock, dispatcher: Dispatcher, pending: PendingResults) -> None:
    resolve(dispatcher, pending, waited_for=False)
    assert clock.handed_over == 0


def test_not_where_somebody_computes(clock: Clock, dispatcher: Dispatcher, pending: PendingResults) -> None:
    clock.away = 0.005
    for _ in range(10):
        resolve(dispatcher, pending, waited_for=True)
    assert clock.handed_over == 3
    # Now and then it is tried again.
    clock.now += 1.0
    for _ in range(10):
        resolve(dispatcher, pending, waited_for=True)
    assert clock.handed_over == 4
    clock.now += 1.0
    clock.away = 0.0
    for _ in range(10):
        resolve(dispatcher, pending, waited_for=True)
    assert clock.handed_over == 14


def test_a_busy_machine_is_nobody_who_computes(clock: Clock, dispatcher: Dispatcher, pending: PendingResults) -> None:
    for number in range(30):
        clock.away = 0.0 if number % 3 == 2 else 0.005
        resolve(dispatcher, pending, waited_for=True)
    assert clock.handed_over == 30
