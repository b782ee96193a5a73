"""A result that the server has no more is found by nobody: its future ends with its ``lifetime``."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from bgresults import ResultFuture, ResultWatcher, WatchExpiredError
from bgresults.testing import FaultProxy
from tests.support import wait_until
from tests.support.outages import PATIENCE, QUICK, through
from tests.support.results import ResultWriter, new_id, state_body


def comes_and_goes(writer: ResultWriter, task_id: str) -> None:
    """Stored and published, and gone a moment later."""
    body = state_body(task_id, result=1)
    with writer.client.pipeline(transaction=True) as pipeline:
        pipeline.set(writer.key(task_id), body, px=1)
        pipeline.publish(writer.key(task_id), body)
        pipeline.execute()
    wait_until(lambda: not writer.client.exists(writer.key(task_id)), "the result to expire")


def ends_with_its_lifetime(future: ResultFuture, watcher: ResultWatcher) -> None:
    with pytest.raises(FutureTimeoutError):
        future.result(0.05)
    assert not future.done()
    assert isinstance(future.exception(PATIENCE), WatchExpiredError)
    assert watcher.pending == 0


def test_before_anybody_watched(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_id()
    comes_and_goes(writer, task_id)
    assert watcher.wait_ready(PATIENCE)
    ends_with_its_lifetime(watcher.watch(task_id, lifetime=2.0), watcher)
    wait_until(lambda: not writer.channels(), "the end of the subscription")


def test_during_an_outage(writer: ResultWriter, proxy: FaultProxy) -> None:
    with ResultWatcher(through(proxy), retry=QUICK) as watcher:
        future = watcher.watch(new_id(), lifetime=6.0)
        wait_until(writer.channels, "the subscription")
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not writer.channels(), "the outage")
        comes_and_goes(writer, future.task_id)
        proxy.accept()
        wait_until(writer.channels, "the next subscription")
        ends_with_its_lifetime(future, watcher)
