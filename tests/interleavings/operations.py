"""What callers do: the operations that are stopped at each of their lines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from bgresults import ForkedError, WatcherClosedError
from tests.interleavings.actions import Action
from tests.interleavings.bench import CANCELLED, CLOSED, VALUE, WAIT, Bench, Run
from tests.support import wait_until

__all__ = ["CALLERS", "Operation"]


def _nothing(_: Run) -> None:
    pass


@dataclass(frozen=True)
class Operation:
    """Something that one thread does.

    Attributes:
        name: of the test.
        perform: what is stopped; for the drain thread: what makes it do it.
        prepare: what is there before.
        check: what has to be true when everything has ended, beyond what always has to.
        done: for the drain thread: whether it has done it.
        ends: how the futures may end.
        own: it needs a watcher of its own.
        connected: its thread runs and is connected before.
        reconnects: how often it reconnects.
    """

    name: str
    perform: Callable[[Run], object]
    prepare: Callable[[Run], object] = _nothing
    check: Callable[[Run], object] = _nothing
    done: Callable[[Run], bool] = lambda run: True
    ends: frozenset[str] = frozenset({VALUE})
    own: bool = False
    connected: bool = True
    reconnects: int = 0

    def __str__(self) -> str:
        return self.name

    def prepared(self, bench: Bench, action: Action | None = None) -> Run:
        """A case of it, at its beginning."""
        ends = self.ends if action is None else self.ends | action.ends
        run = Run(bench, f"{self} and {action}", ends, own=self.own or CLOSED in ends, connected=self.connected)
        run.reconnects = self.reconnects
        run.settled = run.settled and not self.reconnects
        self.prepare(run)
        return run


def _watched(run: Run) -> None:
    run.watch()
    run.until_idle(run.task_id)


def _watch_many(run: Run) -> None:
    ids = [*(run.new_id() for _ in range(10)), run.task_id, *(run.new_id() for _ in range(9))]
    run.futures.extend(run.watcher.watch_many(ids))


def _drop(run: Run) -> None:
    run.kept.append(run.watcher.watch(run.task_id))
    # Or a wake-up that is on its way already spares most of the lines.
    run.until_idle(run.task_id)


def _add_callback(run: Run) -> None:
    # From here on the watcher keeps the future alive.
    run.due.add(run.task_id)
    run.futures[0].add_done_callback(run.calls.append)


def _called_once(run: Run) -> None:
    # A future has ended a moment before its callbacks are called.
    wait_until(lambda: run.calls, "the callback", interval=0.001)
    assert len(run.calls) == 1


def _twice(run: Run) -> None:
    run.watch()
    run.watch()


def _finish_by_hand(run: Run) -> None:
    try:
        run.futures[0].set_result("value")
    except InvalidStateError:
        # Somebody else was faster.
        pass


def _result(run: Run) -> None:
    try:
        run.futures[0].result(0.02)
    except (FutureTimeoutError, CancelledError, WatcherClosedError):
        pass
    except ForkedError:
        assert os.getpid() != run.pid


def _updates(run: Run) -> None:
    stream = run.watcher.updates(run.task_id)
    del stream


def _stream(run: Run) -> None:
    run.kept.append(run.watcher.updates(run.task_id, timeout=0.02))


def _next_of_stream(run: Run) -> None:
    try:
        for _ in run.kept[0]:
            pass
    except (TimeoutError, WatcherClosedError):
        pass
    except ForkedError:
        assert os.getpid() != run.pid


def _wait_ready(run: Run) -> None:
    deadline = time.monotonic() + WAIT
    try:
        # Not in one piece: nobody makes a watcher ready for a child that was forked in the middle of this.
        while not run.watcher.wait_ready(0.05):
            assert time.monotonic() < deadline
    except WatcherClosedError:
        assert run.watcher.closed
    except ForkedError:
        assert os.getpid() != run.pid


def _watch_if_open(watch: Callable[[Run], Any]) -> Callable[[Run], None]:
    def perform(run: Run) -> None:
        try:
            watch(run)
        except WatcherClosedError:
            assert run.watcher.closed

    return perform


#: Operations of any thread but the drain thread.
CALLERS = [
    Operation("watch", _watch_if_open(Run.watch)),
    Operation("watch_again", _watch_if_open(Run.watch), Run.watch),
    Operation("watch_many", _watch_if_open(_watch_many)),
    Operation("first_watch", _watch_if_open(Run.watch), own=True, connected=False),
    Operation("cancel", lambda run: run.futures[0].cancel(), _watched, ends=frozenset({CANCELLED})),
    Operation("cancel_one_of_two", lambda run: run.futures[0].cancel(), _twice, ends=frozenset({CANCELLED, VALUE})),
    Operation("drop", lambda run: run.kept.clear(), _drop),
    Operation("add_done_callback", _add_callback, Run.watch, _called_once),
    Operation("result", _result, Run.watch),
    Operation("finish_by_hand", _finish_by_hand, Run.watch),
    Operation("updates", _watch_if_open(_updates)),
    Operation("next_update", _next_of_stream, _stream),
    Operation("wait_ready", _wait_ready),
    Operation("first_wait_ready", _wait_ready, own=True, connected=False),
    Operation("close", lambda run: run.watcher.close(), _watched, ends=frozenset({CLOSED})),
]
