"""What happens in another thread while one stands still in the middle of an operation."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from dataclasses import dataclass
from typing import Any

from bgresults import WatcherClosedError, forking
from tests.interleavings.bench import CANCELLED, CLOSED, VALUE, Run, end_of
from tests.support.forks import c_fork, c_fork_with_child_hook, run_in_child
from tests.support.stops import Stop

__all__ = ["ACTIONS", "DRAIN_ACTIONS", "Action", "unheard_fork"]


@dataclass(frozen=True)
class Action:
    """Attributes:
    name: of the test.
    act: does it; runs while the other thread stands.
    ends: how it may end the futures of the operation.
    """

    name: str
    act: Callable[[Run, Any], object]
    ends: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name


def unheard_fork() -> int:
    """A C-level fork that Python itself hears of in the child, and this library does not."""
    pid = c_fork()
    if pid == 0:
        hook, forking._reset = forking._reset, lambda: None
        ctypes.pythonapi.PyOS_AfterFork_Child()
        forking._reset = hook
    return pid


def _fork(fork: Callable[[], int]) -> Callable[[Run, Stop], None]:
    def act(run: Run, stop: Stop) -> None:
        before = run.bench.connections_received()
        if fork is not os.fork:
            stop.hold_still()

        def fork_and_let_go() -> int:
            pid = fork()
            if pid:
                stop.let_go()
            return pid

        assert run_in_child(run.check_child, fork=fork_and_let_go) == 0, "the child failed; see stderr"
        if run.settled:
            assert run.bench.connections_received() - before == 2, "the child's own two connections"

    return act


def _close(run: Run, stop: Stop) -> None:
    run.watcher.close()


def _cancel(run: Run, stop: Stop) -> None:
    for future in list(run.futures):
        future.cancel()


def _finish(run: Run, stop: Stop) -> None:
    for future in list(run.futures):
        with contextlib.suppress(InvalidStateError):
            future.set_result("value")


def _resolve(run: Run, stop: Stop) -> None:
    marker = run.new_id()
    try:
        future = run.watcher.watch(marker)
    except WatcherClosedError:
        assert run.watcher.closed
        return
    run.write()
    run.write(marker)
    # What comes after the result has been seen, unless the stopped thread has to give way first.
    assert end_of(future) in {VALUE, CLOSED}


def _collect(run: Run, stop: Stop) -> None:
    run.futures.clear()
    run.kept.clear()
    gc.collect()


def _watch(run: Run, stop: Stop) -> None:
    try:
        run.watch()
        run.watch(run.new_id())
    except WatcherClosedError:
        assert run.watcher.closed


# From 3.13 on PyOS_AfterFork_Child() aborts the process where PyOS_BeforeFork() did not come first; and without the
# former, no fork beside threads that run is safe.
_C_FORKS = [
    Action("unheard_fork", _fork(unheard_fork)),
    Action("child_hook_only", _fork(c_fork_with_child_hook)),
]

ACTIONS = [
    Action("fork", _fork(os.fork)),
    Action("close", _close, frozenset({CLOSED})),
    Action("cancel", _cancel, frozenset({CANCELLED})),
    Action("resolve", _resolve, frozenset({VALUE})),
    Action("finish", _finish, frozenset({VALUE})),
    Action("collect", _collect),
    Action("watch", _watch, frozenset({VALUE})),
    *(_C_FORKS if sys.version_info < (3, 13) else []),
]

# Nobody can wait for a result that the stopped thread itself has to bring.
DRAIN_ACTIONS = [
    Action("resolve", lambda run, _: run.write(), frozenset({VALUE})) if action.name == "resolve" else action
    for action in ACTIONS
]
