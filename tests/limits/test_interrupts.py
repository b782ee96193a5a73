"""Real signals: Ctrl-C in the thread that waits, and signals that come to the drain thread itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bgresults import ResultFuture, ResultWatcher
from tests.limits.backends import WAIT, Backend
from tests.support.calls import Caller
from tests.support.logs import Told
from tests.support.results import new_id, new_ids
from tests.support.waiters import is_waited_for
from tests.support.waiting import wait_until


@contextmanager
def handled_by(handler: Callable[..., object], number: signal.Signals) -> Iterator[None]:
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


def once_it_waits(future: ResultFuture, number: signal.Signals, until: Callable[[], object]) -> Caller:
    """Sends a signal to this process, again and again: one that comes right before the wait does not end it."""

    def send() -> None:
        wait_until(lambda: is_waited_for(future), "the main thread to wait", WAIT)

        def sent() -> object:
            if not until():
                os.kill(os.getpid(), number)
            return until()

        wait_until(sent, "the signal to be handled", WAIT, interval=0.05)

    return Caller(send)


def test_ctrl_c_in_result(watcher: ResultWatcher, backend: Backend) -> None:
    """It ends the wait, and nothing else: the result comes for whoever asks again."""
    future = watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    interrupted: list[bool] = []

    def interrupt(*_: object) -> None:
        if not interrupted:
            interrupted.append(True)
            signal.default_int_handler(signal.SIGINT, None)

    with handled_by(interrupt, signal.SIGINT):
        sender = once_it_waits(future, signal.SIGINT, lambda: interrupted)
        with pytest.raises(KeyboardInterrupt):
            future.result(WAIT)
        sender.outcome(WAIT)
    assert not future.done()
    backend.send(watcher, future.task_id, "still here")
    assert future.result(WAIT) == "still here"


def test_a_handler_that_returns(watcher: ResultWatcher, backend: Backend) -> None:
    """The wait goes on: neither is it over, nor does it begin anew."""
    future = watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    handled: list[Any] = []

    def handle(*_: object) -> None:
        handled.append(threading.current_thread())
        if len(handled) == 3:
            backend.send(watcher, future.task_id, "sent by the handler")

    with handled_by(handle, signal.SIGALRM):
        sender = once_it_waits(future, signal.SIGALRM, lambda: len(handled) >= 3)
        assert future.result(WAIT) == "sent by the handler"
        sender.outcome(WAIT)
    assert set(handled) == {threading.main_thread()}


def test_signals_in_the_drain_thread(watcher: ResultWatcher, backend: Backend, told: Told) -> None:
    """They interrupt whatever system call it is in, while results come; none is lost, and no connection."""
    handled: list[int] = []
    futures = watcher.watch_many(new_ids(200))
    assert watcher.wait_ready(WAIT)
    drainer = watcher._session.thread
    assert drainer is not None
    with handled_by(lambda number, _: handled.append(number), signal.SIGUSR1):
        for future in futures:
            signal.pthread_kill(drainer.ident or 0, signal.SIGUSR1)
            backend.send(watcher, future.task_id, future.task_id)
        assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
    assert handled
    assert watcher.stats().reconnects == 0
    assert told.levels == []
