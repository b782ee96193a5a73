"""A signal wakes a thread that waits for a result; the handler raises, calls the library, or forks."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Any

import pytest

from bgresults import ForkedError, WatcherClosedError
from tests.interleavings.actions import Action
from tests.interleavings.bench import CANCELLED, CLOSED, FORKED, VALUE, WAIT, Bench, Run, end_of
from tests.interleavings.handlers import HANDLERS, end_as_child
from tests.support import wait_until
from tests.support.calls import Caller, until_in
from tests.support.gates import drain_thread_held


@contextmanager
def signalled(handler: Callable[[], object], function: str) -> Iterator[None]:
    """Send a signal to this thread, once it waits in ``function``."""
    main = threading.main_thread()
    begun = threading.Event()
    handled: list[bool] = []

    def handle(*_: object) -> None:
        if not handled:
            handled.append(True)
            handler()

    previous = signal.signal(signal.SIGUSR2, handle)

    def send() -> None:
        begun.wait(WAIT)
        until_in(main, function)
        # One that comes right before the thread goes to sleep does not end that sleep: CPython looks for it afterwards.
        while not handled:
            signal.pthread_kill(main.ident or 0, signal.SIGUSR2)
            time.sleep(0.05)

    sender = Caller(send)
    begun.set()
    try:
        yield
    finally:
        sender.outcome()
        signal.signal(signal.SIGUSR2, previous)


# Where a thread is that waits for the end of another one.
JOINING = "_wait_for_tstate_lock" if sys.version_info < (3, 13) else "join"


def result(run: Run, timeout: float) -> str:
    """How the wait ended."""
    try:
        assert run.futures[0].result(timeout) == "value"
    except KeyboardInterrupt:
        return "interrupted"
    except FutureTimeoutError:
        return "timeout"
    except CancelledError:
        return CANCELLED
    except WatcherClosedError:
        return CLOSED
    except ForkedError:
        return FORKED
    return VALUE


# How the wait ends in the thread whose handler did it; nothing is written meanwhile.
ENDS = {"raise": "interrupted", "close": CLOSED, "cancel": CANCELLED}


@pytest.mark.parametrize("action", HANDLERS, ids=str)
def test_in_result(bench: Bench, action: Action) -> None:
    with Run(bench, f"result and {action}", action.ends | {VALUE}, own=True) as run:
        future = run.watch()
        run.until_idle(run.task_id)
        with signalled(lambda: action.act(run, None), "wait"):
            # Where the signal ends it, however late that comes.
            found = result(run, WAIT if action.name in ENDS else 1.5)
        if os.getpid() != run.pid:
            # There is nobody who could wake the child; its time is over, or it has seen that it was forked.
            end_as_child(run, None if found in {"timeout", FORKED} else AssertionError(found))
        assert found == ENDS.get(action.name, "timeout")
        exit_codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in run.children]
        assert not any(exit_codes + run.exit_codes)
        run.write()
        assert end_of(future) == ENDS.get(action.name, VALUE).replace("interrupted", VALUE)
        del future
        run.finish()


def test_a_result_that_comes_while_the_handler_runs(bench: Bench) -> None:
    with Run(bench, "result and result", frozenset({VALUE}), own=True) as run:
        future = run.watch()
        run.until_idle(run.task_id)

        def resolve() -> None:
            run.write()
            wait_until(run.futures[0].done, "the result")

        with signalled(resolve, "wait"):
            assert future.result(WAIT) == "value"
        del future
        run.finish()


@pytest.mark.parametrize(
    ("action", "end"), [("close", CLOSED), ("cancel", CANCELLED), ("watch", "timeout"), ("fork", "timeout")]
)
def test_in_the_standard_librarys_wait(bench: Bench, action: str, end: str) -> None:
    chosen = next(each for each in HANDLERS if each.name == action)
    with Run(bench, f"wait and {action}", chosen.ends | {VALUE}, own=True) as run:
        future = run.watch()
        run.until_idle(run.task_id)
        with signalled(lambda: chosen.act(run, None), "wait"):
            done = wait([future], timeout=1.5 if end == "timeout" else WAIT).done
        assert not any(run.exit_codes)
        assert done == (set() if end == "timeout" else {future})
        if done:
            assert end_of(future) == end
        done.clear()
        del future
        run.finish()


@pytest.mark.parametrize("action", ["raise", "watch", "fork"])
def test_in_close(bench: Bench, action: str) -> None:
    """The drain thread is held up by a callback; close() waits for it, and so does its caller."""
    chosen = next(each for each in HANDLERS if each.name == action)
    with Run(bench, f"close and {action}", frozenset({CLOSED}), own=True) as run:
        future = run.watch()
        with drain_thread_held(run.watcher):
            with signalled(lambda: chosen.act(run, None), JOINING):
                try:
                    run.watcher.close(0.3)
                except KeyboardInterrupt:
                    assert action == "raise"
            assert not any(run.exit_codes)
            assert run.watcher.closed
        assert end_of(future) == CLOSED
        del future
        run.finish()


def test_in_wait_ready(bench: Bench) -> None:
    """Not connected yet: the server stands still. A handler watches and closes."""
    calls: list[Any] = []
    with Run(bench, "wait_ready", frozenset({CLOSED}), own=True, connected=False) as run:

        def handle() -> None:
            calls.append(run.watch())
            run.watcher.close(0.05)

        bench.server.pause()
        try:
            with signalled(handle, "wait"), pytest.raises(WatcherClosedError):
                run.watcher.wait_ready(WAIT)
        finally:
            bench.server.resume()
        assert len(calls) == 1
        assert end_of(calls[0]) == CLOSED
        calls.clear()
        run.finish()


def test_in_wait_ready_and_the_child_goes_on(bench: Bench) -> None:
    """Nobody connects for it there: it is told so at once, however long it was ready to wait."""
    action = next(each for each in HANDLERS if each.name == "fork_and_go_on")
    with Run(bench, "wait_ready and fork_and_go_on", frozenset({VALUE}), own=True, connected=False) as run:

        def handle() -> None:
            action.act(run, None)
            if os.getpid() == run.pid:
                bench.server.resume()

        begun, error = time.monotonic(), None
        bench.server.pause()
        # The thread runs: a child that returned into the start of a thread would wait for that one.
        run.watch()
        try:
            with signalled(handle, "wait"):
                assert run.watcher.wait_ready(WAIT)
        except ForkedError as forked:
            error = forked
        if os.getpid() != run.pid:
            in_time = error is not None and time.monotonic() - begun < WAIT / 2
            end_as_child(run, None if in_time else AssertionError("the child waited"))
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in run.children] == [0]
        run.finish()
