"""A fork in a callback: the child is the drain thread, with the parent's connections in its hands.

The main thread sleeps meanwhile, and does not look from time to time: a C-level fork waits until nobody is awake.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.interleavings.actions import unheard_fork
from tests.interleavings.bench import VALUE, Bench, Run, end_of
from tests.support.forks import c_fork_with_child_hook, run_in_child
from tests.support.gates import drain_thread_held

FORKS = pytest.mark.parametrize(
    "fork", [os.fork, *([unheard_fork, c_fork_with_child_hook] if sys.version_info < (3, 13) else [])]
)
KINDS = pytest.mark.parametrize("kind", ["done", "update", "last_update"])


@pytest.fixture
def run(bench: Bench) -> Iterator[Run]:
    with Run(bench, "callback", frozenset({VALUE}), own=True) as made:
        yield made


def call_back(run: Run, kind: str, callback: Callable[[], object]) -> None:
    """Have the drain thread call ``callback`` once, for the state of a task; two other futures wait meanwhile."""
    waiting = [run.watch(run.new_id()), run.watch()]
    called: list[bool] = []
    over = threading.Event()

    def once(_: object) -> None:
        if not called:
            called.append(True)
            try:
                callback()
            finally:
                over.set()

    if kind == "done":
        waiting[1].add_done_callback(once)
    else:
        run.watch(on_update=once)
    run.until_idle(*(future.task_id for future in waiting))
    before = run.bench.connections_received()
    run.bench.writer.write(run.task_id, "value", "PROGRESS" if kind == "update" else "SUCCESS")
    assert over.wait(60), "the callback did not come to its end"
    run.kept.append(before)


@FORKS
@KINDS
def test_the_child_uses_the_watcher(run: Run, kind: str, fork: Callable[[], int]) -> None:
    """It waits for results in the very callback: the thread that it is has nothing to do with its new session."""

    def grandchild() -> None:
        assert end_of(run.watcher.watch(run.bench.stored_id)) == VALUE

    def child() -> None:
        run.check_child()
        assert run_in_child(grandchild) == 0
        run.watcher.close()

    call_back(run, kind, lambda: run.exit_codes.append(run_in_child(child, fork=fork)))
    assert run.exit_codes == [0]
    assert run.bench.connections_received() - run.kept[0] == 4, "two of the child's own, two of its child's"
    run.finish()


@FORKS
@KINDS
def test_the_child_returns_into_the_loop(run: Run, kind: str, fork: Callable[[], int]) -> None:
    """So does its own child. Both leave the loop at once, and as their last threads end their processes."""
    pids: list[int] = []
    read, write = os.pipe()

    def fork_twice() -> None:
        pid = fork()
        if pid:
            pids.append(pid)
        elif os.fork():
            os.write(write, b"child")
        else:
            os.write(write, b"grandchild")

    call_back(run, kind, fork_twice)
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    # The pipe ends when the last of the two has ended.
    said = b""
    while data := os.read(read, 100):
        said += data
    os.close(read)
    assert len(said) == len(b"childgrandchild")
    assert run.bench.connections_received() == run.kept[0]
    run.finish()


@KINDS
def test_the_child_raises(run: Run, kind: str) -> None:
    """What a child's callback raises ends the child, and reaches nobody's log."""
    pids: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if not pid:
            raise SystemExit(3)
        pids.append(pid)

    call_back(run, kind, fork)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert run.bench.connections_received() == run.kept[0]
    run.finish()
    assert run.watcher.stats().callback_errors == 0


@FORKS
def test_the_child_calls_nobody_else(run: Run, fork: Callable[[], int]) -> None:
    """Two results come in one piece. The callback of the first forks, and that of the second is the parent's alone."""
    pids: list[int] = []
    forked = threading.Event()
    read, write = os.pipe()
    first = run.watch()
    second = run.watch(run.new_id(), on_update=lambda _: os.write(write, b"called"))
    run.until_idle(first.task_id, second.task_id)

    def fork_here(_: object) -> None:
        pid = fork()
        if pid:
            pids.append(pid)
            forked.set()

    first.add_done_callback(fork_here)
    with drain_thread_held(run.watcher):
        run.write(first.task_id)
        run.write(second.task_id)
    del first, second
    assert forked.wait(60)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    run.finish()
    os.close(write)
    assert os.read(read, 100) == b"called"
    os.close(read)
