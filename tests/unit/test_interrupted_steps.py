"""A signal handler raises in the middle of one step, forced: what was to be done is done, and the exception goes on.

``tests/interleavings`` has it raise at each line in turn; here it is the one call of each that has to be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from bgresults import ResultFuture, ResultWatcher
from bgresults.consumers.base import BaseResultConsumer
from bgresults.errors import WatcherClosedError
from bgresults.options import RetryPolicy
from bgresults.registration import register
from bgresults.session import Command, Session, SessionSettings


class Owner:
    """Of a future; ``raising`` is the method that raises when it is called for the first time."""

    def __init__(self, raising: str) -> None:
        self._raising: str | None = raising
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self._raising == name:
            self._raising = None
            raise KeyboardInterrupt

    def _forget(self, future: Any) -> bool | None:
        self._called("forget")
        return True

    def _released(self, future: Any) -> None:
        self._called("released")

    def _pin(self, future: Any) -> None: ...

    def _on_drain_thread(self) -> bool:
        return False


STEPS = pytest.mark.parametrize("raising", ["forget", "released"])


@STEPS
def test_a_cancel(raising: str) -> None:
    owner = Owner(raising)
    future = ResultFuture("a", owner)
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    assert future.cancelled()
    # Once more after it was interrupted: nobody else would.
    assert owner.calls.count(raising) == 2
    assert owner.calls[-1] == "released"


@STEPS
def test_an_end_by_hand(raising: str) -> None:
    owner = Owner(raising)
    future = ResultFuture("a", owner)
    with pytest.raises(KeyboardInterrupt):
        future.set_result(1)
    assert future.result(0) == 1
    assert owner.calls[-1] == "released"


class Wakeup:
    """Wakes nobody, and raises the first time."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1
        if self.woken == 1:
            raise KeyboardInterrupt


def session() -> Session:
    def no_consumer(**_: Any) -> BaseResultConsumer:
        raise AssertionError("no thread was started")

    settings = SessionSettings("name", "address", logging.getLogger("bgresults"), no_consumer, RetryPolicy(), "wait")
    made = Session(settings, ResultWatcher("redis://127.0.0.1:1/0"))
    made.wakeup = Wakeup()  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    "step",
    [lambda made: made.tell(Command.PROBE), lambda made: made.end(lambda: WatcherClosedError("closed"))],
    ids=["a command", "the end"],
)
def test_a_wake_up(step: Callable[[Session], None]) -> None:
    made = session()
    with pytest.raises(KeyboardInterrupt):
        step(made)
    assert made.wakeup.woken == 2  # type: ignore[union-attr]
    assert made.commands or made.ended is not None


def test_a_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets the futures, so none may stay registered."""
    made = session()
    futures = [ResultFuture(task_id, None) for task_id in "ab"]
    added = iter([None])
    add = made.pending.add

    def interrupted(ref: Any) -> None:
        add(ref)
        if next(added, made) is made:
            raise KeyboardInterrupt

    monkeypatch.setattr(made.pending, "add", interrupted)
    made.wakeup = None
    with pytest.raises(KeyboardInterrupt):
        register(made, futures, None, 100, pinned=True)
    assert len(made.pending) == 0
