"""Subscribing, unsubscribing, reading and expiring cross each other: each bad order is forced."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from bgresults import RedisOptions, ResultFuture, ResultWatcher, RetryPolicy, WatcherStats, WatchExpiredError
from bgresults.consumers.redis import subscriptions
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.link import Link
from bgresults.testing import FaultProxy, RedisServer
from bgresults.urls import parse_redis_url
from tests.support import wait_until
from tests.support.consumers import PURE_PYTHON
from tests.support.gates import drain_thread_held
from tests.support.results import ResultWriter, new_id

WAIT = 20
# Longer than any test: until it is taken away.
FOR_EVER = 600.0


@dataclass
class Line:
    """A connected watcher, and the proxy that its connections go through."""

    proxy: FaultProxy
    watcher: ResultWatcher
    writer: ResultWriter

    def subscribed(self, **options: Any) -> ResultFuture:
        """A future whose id is subscribed and read."""
        reads = self.reads()
        future = self.watcher.watch(new_id(), **options)
        wait_until(lambda: future.task_id in self.writer.channels(), "the subscription")
        wait_until(lambda: self.reads() > reads, "the read")
        return future

    def reads(self) -> int:
        """How often the server has been asked for stored values."""
        return int(self.writer.client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0))

    def said(self, word: bytes) -> int:
        """How often the watcher has said a word, whether or not the server has heard it."""
        return self.proxy.recorded("to_server").count(b"\r\n" + word + b"\r\n")

    def is_at_rest(self, *, reconnects: int = 0) -> None:
        """Nothing is left of all that, and the watcher works."""
        future = self.watcher.watch(new_id())
        self.writer.write(future.task_id, "works")
        assert future.result(WAIT) == "works"
        wait_until(lambda: not self.writer.channels(), "the end of all subscriptions")
        wait_until(lambda: not self.watcher.stats().subscribed, "no id to be asked for")
        assert self.watcher.pending == 0
        assert self.watcher.stats().reconnects == reconnects

        wait_until(lambda: adds_up(self.watcher.stats()), "each future to be counted once")


def adds_up(stats: WatcherStats) -> bool:
    return stats.watched == stats.resolved + stats.failed + stats.cancelled + stats.dropped + stats.expired


@pytest.fixture
def line(own_redis: RedisServer, writer: ResultWriter) -> Iterator[Line]:
    quick = RetryPolicy(initial=0.01, maximum=0.05)
    with (
        FaultProxy(own_redis.port, record=True) as proxy,
        ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", retry=quick) as watcher,
    ):
        assert watcher.wait_ready(WAIT)
        yield Line(proxy, watcher, writer)


def writes(line: Line, task_id: str, chosen: str) -> Callable[[str], None]:
    """Writes the result when it is told that the chosen moment has come."""

    def at(moment: str) -> None:
        if moment == chosen:
            line.writer.write(task_id, "value")

    return at


class TestSubscribedAtAReconnect:
    """The SUBSCRIBE is on its way when the link breaks. Whenever the result is written, it arrives."""

    @pytest.mark.parametrize("moment", ["first", "unconfirmed", "away", "unconfirmed again", "at last"])
    def test_the_confirmation_is_lost(self, line: Line, moment: str) -> None:
        task_id = new_id()
        at = writes(line, task_id, moment)
        at("first")
        line.proxy.hold(b"SUBSCRIBE")
        future = line.watcher.watch(task_id)
        wait_until(line.proxy.holding.is_set, "the SUBSCRIBE to reach the server")
        at("unconfirmed")
        self.break_the_link(line, lambda: at("away"))
        wait_until(line.proxy.holding.is_set, "the next SUBSCRIBE to reach the server")
        at("unconfirmed again")
        line.proxy.release()
        at("at last")
        assert future.result(WAIT) == "value"
        line.is_at_rest(reconnects=1)

    @pytest.mark.parametrize("moment", ["on its way", "away", "unconfirmed again", "at last"])
    def test_the_command_is_lost(self, line: Line, moment: str) -> None:
        task_id = new_id()
        at = writes(line, task_id, moment)
        line.proxy.delay(FOR_EVER, "to_server")
        future = line.watcher.watch(task_id)
        wait_until(lambda: line.said(b"SUBSCRIBE"), "the SUBSCRIBE")
        at("on its way")
        assert line.writer.channels() == set()
        self.break_the_link(line, lambda: at("away"))
        wait_until(line.proxy.holding.is_set, "the next SUBSCRIBE to reach the server")
        at("unconfirmed again")
        line.proxy.release()
        at("at last")
        assert future.result(WAIT) == "value"
        line.is_at_rest(reconnects=1)

    @pytest.mark.parametrize("moment", ["while others are caught up on", "away", "at last"])
    def test_watched_while_others_are_caught_up_on(self, line: Line, moment: str) -> None:
        """The link breaks a second time, before the first outage is over; a new id has joined in between."""
        old, task_id = line.subscribed(), new_id()
        at = writes(line, task_id, moment)
        self.break_the_link(line, lambda: None)
        wait_until(line.proxy.holding.is_set, "the SUBSCRIBE for the old one")
        future = line.watcher.watch(task_id)
        wait_until(lambda: line.said(b"SUBSCRIBE") == 3, "the SUBSCRIBE for the new one")
        at("while others are caught up on")
        self.break_the_link(line, lambda: at("away"))
        wait_until(line.proxy.holding.is_set, "the SUBSCRIBE for both")
        line.proxy.release()
        at("at last")
        assert future.result(WAIT) == "value"
        line.writer.write(old.task_id, "old")
        assert old.result(WAIT) == "old"
        line.is_at_rest(reconnects=1)

    @staticmethod
    def break_the_link(line: Line, meanwhile: Callable[[], None]) -> None:
        """Cut it, with everything that is on its way; the next SUBSCRIBE reaches the server and is not confirmed."""
        line.proxy.refuse()
        line.proxy.cut()
        wait_until(lambda: not line.watcher.connected, "the outage to be noticed")
        # What was held back before is lost; the next connections are as fast as ever.
        line.proxy.delay(0)
        meanwhile()
        line.proxy.hold(b"SUBSCRIBE")
        line.proxy.accept()


class TestWatchedAgainWhileItLeaves:
    """The new watch gets the result that is written at any of these moments, and the old one stays ended."""

    @pytest.mark.parametrize(
        "moment", ["on its way", "unsubscribed", "asked for again", "subscribed again", "confirmed"]
    )
    @pytest.mark.parametrize("left_as", ["cancelled", "resolved"])
    def test_while_the_unsubscribe_is_in_flight(self, line: Line, left_as: str, moment: str) -> None:
        first = line.subscribed()
        line.proxy.hold(b"UNSUBSCRIBE")
        line.proxy.delay(FOR_EVER, "to_server")
        if left_as == "cancelled":
            assert first.cancel()
        else:
            line.writer.write(first.task_id, "old")
            assert first.result(WAIT) == "old"
            # A result that is written before the new watch reads is the newer one.
            line.writer.client.delete(line.writer.key(first.task_id))
        again = self.steps(line, first.task_id, moment)
        assert again.result(WAIT) == "value"
        assert first.cancelled() == (left_as == "cancelled")
        line.is_at_rest()

    def steps(self, line: Line, task_id: str, moment: str) -> ResultFuture:
        at = writes(line, task_id, moment)
        wait_until(lambda: line.said(b"UNSUBSCRIBE"), "the UNSUBSCRIBE")
        at("on its way")
        assert line.writer.channels() == {task_id}
        line.proxy.delay(0, "to_server")
        wait_until(lambda: not line.writer.channels(), "the server to forget the id")
        at("unsubscribed")
        line.proxy.delay(FOR_EVER, "to_server")
        again = line.watcher.watch(task_id)
        wait_until(lambda: line.said(b"SUBSCRIBE") == 2, "the second SUBSCRIBE")
        at("asked for again")
        line.proxy.delay(0, "to_server")
        wait_until(lambda: line.writer.channels() == {task_id}, "the server to know the id again")
        at("subscribed again")
        line.proxy.release()
        at("confirmed")
        return again

    @pytest.mark.parametrize("left_as", ["cancelled", "resolved"])
    def test_before_the_unsubscribe_is_sent(self, line: Line, left_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is subscribed all the time, and nobody wants what comes meanwhile."""
        first = line.subscribed()
        monkeypatch.setattr(subscriptions, "LINGER", FOR_EVER)
        if left_as == "cancelled":
            assert first.cancel()
            wait_until(lambda: line.watcher.stats().cancelled == 1, "the cancel to be taken")
        else:
            line.writer.write(first.task_id, "old")
            assert first.result(WAIT) == "old"
        line.writer.write(first.task_id, "new")
        wait_until(lambda: line.watcher.stats().late + line.watcher.stats().duplicate == 1, "the message for nobody")
        again = line.watcher.watch(first.task_id)
        assert again.result(WAIT) == "new"
        assert line.said(b"SUBSCRIBE") == 1
        assert line.said(b"UNSUBSCRIBE") == 0
        monkeypatch.undo()
        line.is_at_rest()


class TestAStateTogetherWithTheConfirmation:
    """One piece has both. What is read after the confirmation is what the message has said."""

    def test_it_is_told_once(self, line: Line) -> None:
        task_id = new_id()
        line.proxy.hold(b"SUBSCRIBE")
        stream = line.watcher.updates(task_id, timeout=WAIT)
        wait_until(line.proxy.holding.is_set, "the SUBSCRIBE to reach the server")
        line.writer.write(task_id, {"done": 1}, "PROGRESS")
        before = line.reads()
        line.proxy.release()
        wait_until(lambda: line.reads() == before + 1, "the read")
        line.writer.write(task_id, "end")
        assert [meta.result for meta in stream] == [{"done": 1}, "end"]
        line.is_at_rest()


class TestKeysThatGo:
    """The stored result is gone between the SUBSCRIBE and the read."""

    @pytest.fixture(params=["deleted", "expired"])
    def gone(self, request: pytest.FixtureRequest, line: Line) -> str:
        """An id whose result was stored when it was watched, and is not any more when it is read."""
        task_id = new_id()
        key = line.writer.key(task_id)
        line.writer.store(task_id, "gone")
        line.proxy.hold(b"SUBSCRIBE")
        self.future = line.watcher.watch(task_id, lifetime=WAIT if "late" in request.node.name else 2.0)
        wait_until(line.proxy.holding.is_set, "the SUBSCRIBE to reach the server")
        if request.param == "deleted":
            line.writer.client.delete(key)
        else:
            line.writer.client.pexpire(key, 1)
        wait_until(lambda: not line.writer.client.exists(key), "the key to go")
        before = line.reads()
        line.proxy.release()
        wait_until(lambda: line.reads() == before + 1, "the read")
        return task_id

    def test_a_result_that_comes_late(self, line: Line, gone: str) -> None:
        assert not self.future.done()
        line.writer.publish(gone, "late")
        assert self.future.result(WAIT) == "late"
        line.is_at_rest()

    @pytest.mark.usefixtures("gone")
    def test_no_result_ever(self, line: Line) -> None:
        with pytest.raises(WatchExpiredError):
            self.future.result(WAIT)
        line.is_at_rest()


class TestExpiredInTheTurnOfTheResult:
    """The drain thread was held up, and finds both: the end of the lifetime and the result. One of them counts."""

    def test_the_result_is_seen_first(self, line: Line) -> None:
        """The turn had looked for lifetimes already; the result came before their next look."""
        calls: list[Future[Any]] = []
        future = line.subscribed(lifetime=3.0)
        future.add_done_callback(calls.append)
        begun = time.monotonic()
        with drain_thread_held(line.watcher):
            # Those whose callbacks were to hold the thread up.
            holders = line.watcher.stats().expired
            line.writer.write(future.task_id, "in time")
            wait_until(lambda: time.monotonic() > begun + 3.1, "the end of the lifetime")
        assert future.result(WAIT) == "in time"
        self.is_over(line, calls)
        assert line.watcher.stats().expired == holders

    def test_the_end_is_seen_first(self, line: Line) -> None:
        calls: list[Future[Any]] = []
        holder, held, go_on = line.subscribed(), threading.Event(), threading.Event()

        def hold(_: Future[Any]) -> None:
            held.set()
            go_on.wait(WAIT)

        holder.add_done_callback(hold)
        future = line.subscribed(lifetime=3.0)
        future.add_done_callback(calls.append)
        begun = time.monotonic()
        line.writer.write(holder.task_id)
        assert held.wait(WAIT)
        line.writer.write(future.task_id, "too late")
        wait_until(lambda: time.monotonic() > begun + 3.1, "the end of the lifetime")
        go_on.set()
        with pytest.raises(WatchExpiredError):
            future.result(WAIT)
        self.is_over(line, calls)
        assert line.watcher.stats().late == 1

    def is_over(self, line: Line, calls: list[Future[Any]]) -> None:
        line.is_at_rest()
        assert len(calls) == 1


class TestReceivedWithAnAnswer:
    """What arrives together with an answer that was waited for is nowhere but in the link's own memory."""

    @pytest.mark.parametrize("options", [RedisOptions(), PURE_PYTHON], ids=["hiredis", "python"])
    def test_it_is_not_out_of_sight(self, own_redis: RedisServer, writer: ResultWriter, options: RedisOptions) -> None:
        connector = Connector(parse_redis_url(own_redis.url(), options), 5.0)
        link = Link(connector, time.monotonic() + WAIT, subscribes=True, proven=True)
        link.send("SUBSCRIBE", "a", answers=1)
        wait_until(own_redis.channels, "the subscription")
        writer.client.publish("a", "message")
        wait_until(lambda: b"message\r\n" in link.socket.recv(1000, socket.MSG_PEEK), "both to arrive")
        assert link.answer() == [b"subscribe", b"a", 1]
        assert not select.select([link], [], [], 0)[0], "no select will ever tell"
        assert link.unread
        assert link.receive() == [[b"message", b"a", b"message"]]
        link.close()
