"""With one reply queue for all, a watch asks nothing of the broker: it does not wake the thread unless it has to."""

from __future__ import annotations

import contextlib

import pytest

from bgresults import AMQPOptions, ResultWatcher
from bgresults.wakeup import Wakeup
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids

pytestmark = pytest.mark.rabbitmq

WAIT = 10.0


def test_no_wake_up_for_a_watch(rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as watcher,
        contextlib.closing(ReplyWriter(rabbitmq_url)) as writer,
    ):
        queue = watcher.reply_to
        assert queue is not None
        wakes: list[Wakeup] = []
        usual = Wakeup.wake

        def noting(wakeup: Wakeup) -> None:
            wakes.append(wakeup)
            usual(wakeup)

        monkeypatch.setattr(Wakeup, "wake", noting)
        ids = new_ids(20)
        futures = [watcher.watch(task_id) for task_id in ids]
        futures += watcher.watch_many(new_ids(20))
        assert wakes == []
        # Those who are in a hurry do: nobody else would look at the clock in time.
        short = watcher.watch(new_id(), lifetime=0.2)
        assert wakes
        assert short.exception(WAIT) is not None
        for task_id in ids:
            writer.write(queue, task_id, task_id)
        assert [future.result(WAIT) for future in futures[:20]] == ids


def test_a_reply_that_comes_before_the_watch(rabbitmq_url: str) -> None:
    """Then there is something to do: it is here, and nothing else will come."""
    # Without heartbeats nothing else wakes the thread for a minute.
    options = AMQPOptions(heartbeat=0)
    with (
        ResultWatcher(rabbitmq_url, amqp=options, connect_timeout=WAIT) as watcher,
        contextlib.closing(ReplyWriter(rabbitmq_url)) as writer,
    ):
        queue = watcher.reply_to
        assert queue is not None
        # Many: a thread that is not asleep yet finds out by itself.
        for number, task_id in enumerate(new_ids(20), 1):
            writer.write(queue, task_id, task_id)
            wait_until(lambda number=number: watcher.stats().buffered == number, "the reply")  # type: ignore[misc]
            # Told on the drain thread; without an update the caller would see to it.
            assert watcher.watch(task_id, on_update=lambda _: None).result(WAIT) == task_id


def test_a_reply_that_comes_after_a_silent_watch(rabbitmq_url: str) -> None:
    with (
        ResultWatcher(rabbitmq_url, amqp=AMQPOptions(heartbeat=0), connect_timeout=WAIT) as watcher,
        contextlib.closing(ReplyWriter(rabbitmq_url)) as writer,
    ):
        queue = watcher.reply_to
        assert queue is not None
        for task_id in new_ids(5):
            future = watcher.watch(task_id)
            writer.write(queue, task_id, task_id)
            assert future.result(WAIT) == task_id
        # Heard of in time: none of them had to be kept for later.
        assert watcher.stats().buffered == 0
