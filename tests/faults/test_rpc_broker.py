"""What a broker and its administrator do to a watcher: connections closed, restarts, alarms, a channel that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.gates import drain_thread_held
from tests.support.results import new_id, new_ids
from tests.support.rpc_lines import NOTICED, RECOVERED, WAIT, Line, line_to, shared_node

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    with line_to(shared_node(), caplog) as made:
        yield made


def test_an_administrator_closes_the_connection(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        assert line.node.close_connections("bgresults") == 1
        wait_until(lambda: watcher.stats().reconnects == 1, "the next connection", RECOVERED)
        line.reply(watcher, future, "kept")
        assert future.result(WAIT) == "kept"
        line.is_well_again(watcher)
        assert "closed by an administrator" in line.log.text, "the broker's own words"


def test_what_was_not_acknowledged_comes_again(line: Line) -> None:
    """The broker had sent them, and the connection was lost before the thread came to look."""
    with line.watcher() as watcher:
        line.consumed(watcher)
        futures = watcher.watch_many(new_ids(50))
        passed = line.proxy.passed("to_client")
        with drain_thread_held(watcher):
            for future in futures:
                line.reply(watcher, future, future.task_id)
            wait_until(lambda: line.proxy.passed("to_client") > passed + 5000, "the deliveries")
            line.proxy.reset()
        assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
        wait_until(lambda: watcher.stats().redelivered > 0, "those whose acknowledgement did not arrive")
        line.is_well_again(watcher)


class TestARestart:
    def test_persistent_replies_that_were_in_the_queue(self, line: Line) -> None:
        with line.watcher() as watcher:
            line.consumed(watcher)
            futures = watcher.watch_many(new_ids(30))
            line.proxy.refuse()
            line.proxy.cut()
            line.noticed(watcher)
            for future in futures[:20]:
                line.reply(watcher, future, future.task_id)
            line.node.restart()
            line.writer.reconnect()
            for future in futures[20:]:
                line.reply(watcher, future, future.task_id)
            line.proxy.accept()
            assert [future.result(RECOVERED) for future in futures] == [future.task_id for future in futures]
            line.is_well_again(watcher)

    @pytest.mark.slow
    def test_persistent_replies_that_were_on_their_way(self, line: Line) -> None:
        """Delivered, and not acknowledged: back into the queue, and over the restart."""
        with line.watcher() as watcher:
            line.consumed(watcher)
            futures = watcher.watch_many(new_ids(20))
            passed = line.proxy.passed("to_client")
            with drain_thread_held(watcher):
                for future in futures:
                    line.reply(watcher, future, future.task_id)
                wait_until(lambda: line.proxy.passed("to_client") > passed + 2000, "the deliveries")
                # What was delivered is lost on the way.
                line.proxy.refuse()
                line.proxy.reset()
                line.node.restart()
                line.writer.reconnect()
                line.proxy.accept()
            assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
            line.is_well_again(watcher)

    @pytest.mark.slow
    def test_timeouts_are_exact_meanwhile(self, line: Line) -> None:
        with line.watcher() as watcher:
            future = line.consumed(watcher)
            line.node.kill()
            try:
                line.noticed(watcher)
                for timeout in (0, 0.05, 0.5):
                    began = time.monotonic()
                    with pytest.raises(FutureTimeoutError):
                        future.result(timeout)
                    assert time.monotonic() - began < timeout + 1
                late = watcher.watch(new_id())
            finally:
                line.node.start()
            line.writer.reconnect()
            assert watcher.wait_ready(WAIT)
            for each in (future, late):
                line.reply(watcher, each, each.task_id)
                assert each.result(WAIT) == each.task_id
            assert watcher.stats().reconnects == 1


def test_a_frozen_broker(line: Line) -> None:
    with line.watcher(connect_timeout=0.7) as watcher:
        future = line.consumed(watcher)
        line.node.pause()
        try:
            line.noticed(watcher)
        finally:
            line.node.resume()
        line.reply(watcher, future, "thawed")
        assert future.result(WAIT) == "thawed"
        # One that was made while it was frozen may be ended by the broker, which took too long to answer it.
        assert watcher.stats().reconnects >= 1


def test_a_channel_that_the_broker_ends(line: Line) -> None:
    """An acknowledgement took longer than the broker allows. It closes the channel, not the connection."""
    patience(line, 1000, tick=200)
    try:
        # Longer ago than that was the last command: it is no measure for the answer that this takes.
        with line.watcher(read_timeout=0.5) as watcher:
            first = line.consumed(watcher)
            futures = [first, *watcher.watch_many(new_ids(10))]
            passed = line.proxy.passed("to_client")
            with drain_thread_held(watcher):
                for future in futures:
                    line.reply(watcher, future, future.task_id)
                wait_until(lambda: line.proxy.passed("to_client") > passed + 1000, "the deliveries")
                wait_until(lambda: not line.writer.consumers(watcher.reply_to), "the channel to be closed", WAIT)
            assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
            line.is_well_again(watcher)
            assert "timed out" in line.log.text, "the broker's own words"
    finally:
        patience(line, 1_800_000, tick=60_000)


def patience(line: Line, milliseconds: int, *, tick: int) -> None:
    """How long the broker waits for acknowledgements on channels that are opened now, and how often it looks."""
    settings = {"consumer_timeout": milliseconds, "channel_tick_interval": tick}
    line.node.control(
        "eval", ", ".join(f"application:set_env(rabbit, {key}, {settings[key]})" for key in settings) + "."
    )


class TestAMemoryAlarm:
    """The broker reads nothing from connections that have published. Ours never do."""

    @pytest.fixture
    def alarm(self, line: Line) -> Iterator[None]:
        line.node.memory_alarm(True)
        yield
        line.node.memory_alarm(False)

    def test_what_is_in_the_queue_comes(self, line: Line) -> None:
        with line.watcher() as watcher:
            line.consumed(watcher)
            futures = watcher.watch_many(new_ids(20))
            line.proxy.refuse()
            line.proxy.cut()
            line.noticed(watcher)
            for future in futures:
                line.reply(watcher, future, future.task_id)
            line.node.memory_alarm(True)
            try:
                line.proxy.accept()
                # And their acknowledgements are read: more than one window of them.
                assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
                wait_until(lambda: line.node.queues()[str(watcher.reply_to)]["messages"] == 0, "acknowledgements", WAIT)
            finally:
                line.node.memory_alarm(False)
            line.is_well_again(watcher)

    def test_new_watchers_and_their_end(self, line: Line, alarm: None) -> None:
        with line.watcher() as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT)
            began = time.monotonic()
            watcher.close(timeout=WAIT)
            assert time.monotonic() - began < 10
            assert future.done()

    def test_what_is_sent_meanwhile_comes_after_it(self, line: Line) -> None:
        with line.watcher() as watcher:
            future = line.consumed(watcher)
            line.node.memory_alarm(True)
            try:
                sender = ReplyWriter(line.node.url())
                sending = threading.Thread(target=sender.write, args=(watcher.reply_to, future.task_id, "at last"))
                sending.start()
                with pytest.raises(FutureTimeoutError):
                    future.result(0.5)
                assert watcher.connected
            finally:
                line.node.memory_alarm(False)
            assert future.result(WAIT) == "at last"
            sending.join(WAIT)
            sender.close()
            assert watcher.stats().reconnects == 0
            assert line.levels() == []


def test_closing_during_an_outage_is_prompt(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.cut()
        line.noticed(watcher)
        queue = watcher.reply_to
        began = time.monotonic()
        watcher.close(timeout=WAIT)
        assert time.monotonic() - began < 10
        assert future.done()
    line.writer.delete(queue)


def test_closing_over_a_black_hole_is_bounded(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        queue = watcher.reply_to
        line.proxy.black_hole()
        began = time.monotonic()
        watcher.close()
        assert time.monotonic() - began < NOTICED
        assert future.done()
    line.proxy.cut()
    line.writer.delete(queue)
