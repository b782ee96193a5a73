"""A server that is there, and says no. That is an outage, told once, and it ends; or a refusal that can be mended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import BackendUnavailableError, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.dispatcher import SLOW_CALLBACK
from bgresults.session import Session
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.logs import Told
from tests.support.outages import ALERT, PATIENCE, QUICK, is_refused_at_once, through, vain_attempts, watched_for_good
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.timeouts import times_out_in_time
from tests.support.troubles import Busy, Denied, MasterDown, TooManyClients, Trouble, WantsPassword

TROUBLES: dict[str, Callable[[RedisServer], Trouble]] = {
    "BUSY": Busy,
    "MASTERDOWN": MasterDown,
    "max clients": TooManyClients,
    "NOAUTH": WantsPassword,
    "-mget": lambda server: Denied(server, "-mget", "+mget"),
    "-subscribe": lambda server: Denied(server, "-subscribe", "+subscribe"),
    "resetchannels": lambda server: Denied(server, "resetchannels", "allchannels"),
}
#: What nobody can mend but by waiting, and what somebody has to change.
PASSING = ["BUSY", "MASTERDOWN", "max clients"]
REFUSALS = [name for name in TROUBLES if name not in PASSING]


@pytest.mark.parametrize("name", TROUBLES)
def test_waiting_through_it(
    own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy, name: str, told: Told
) -> None:
    """Pending futures stay so, new ones are welcome, and timeouts are kept; one WARNING and one INFO tell of it."""
    with ResultWatcher(through(proxy), redis=ALERT, retry=QUICK) as watcher:
        before = watched_for_good(watcher, writer)
        with TROUBLES[name](own_redis) as trouble:
            during = watcher.watch(new_id())
            vain_attempts(proxy)
            assert times_out_in_time(during, 0.05)
            assert not before.done()
            assert not during.done()
            assert told.levels == ["WARNING"]
            assert watcher.stats().state != "failed"
            assert trouble.cuts or trouble.words in told.text
        for future in (before, during):
            writer.write(future.task_id, name)
            assert future.result(PATIENCE) == name
        told.just("WARNING", "INFO")
        assert watcher.stats().reconnects == 1


@pytest.mark.parametrize("name", TROUBLES)
def test_failing_fast(own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy, name: str, told: Told) -> None:
    """What is pending fails, and what comes before it is over: no attempt may take the trouble for gone."""
    with ResultWatcher(through(proxy), redis=ALERT, retry=QUICK, on_disconnect="fail") as watcher:
        before = watched_for_good(watcher, writer)
        with TROUBLES[name](own_redis):
            # Some of them show only when somebody asks for something.
            during = watcher.watch(new_id())
            for future in (before, during):
                assert isinstance(future.exception(PATIENCE), BackendUnavailableError)
            vain_attempts(proxy, meanwhile=lambda: is_refused_at_once(watcher))
            assert told.levels == ["WARNING"]
            assert watcher.pending == 0
        assert watcher.wait_ready(PATIENCE)
        again = watcher.watch(new_id())
        writer.write(again.task_id, "again")
        assert again.result(PATIENCE) == "again"
        told.just("WARNING", "INFO")
        assert watcher.stats().reconnects == 1


@pytest.mark.parametrize("name", ["BUSY", "NOAUTH", "-mget"])
def test_giving_up(own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy, name: str, told: Told) -> None:
    """After ``give_up_after`` seconds, with the server's words; whoever uses it later finds out that it is over."""
    policy = RetryPolicy(initial=0.01, maximum=0.05, give_up_after=0.3)
    with ResultWatcher(through(proxy), redis=ALERT, retry=policy) as watcher:
        before = watched_for_good(watcher, writer)
        with TROUBLES[name](own_redis) as trouble:
            during = watcher.watch(new_id())
            for future in (before, during):
                error = future.exception(PATIENCE)
                assert isinstance(error, BackendUnavailableError)
                assert "gave up after 0.3 s" in str(error)
                assert trouble.words in str(error)
                assert trouble.cure in str(error)
            vain_attempts(proxy, meanwhile=lambda: is_refused_at_once(watcher))
            assert watcher.stats().state == "failed"
            assert told.levels == ["WARNING"]
        wait_until(lambda: not watcher.watch(new_id()).done(), "the probe that a watch asks for")
        again = watcher.watch(new_id())
        writer.write(again.task_id, "again")
        assert again.result(PATIENCE) == "again"
        told.just("WARNING", "INFO")


class LateLook:
    """A ``watch()`` in a thread of its own, which looks late at whether it is refused: it is registered meanwhile."""

    def __init__(self, watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
        self._looks, self._go_on = threading.Event(), threading.Event()
        look = Session.current_refusal

        def look_late(session: Session) -> Any:
            if threading.current_thread() is not threading.main_thread():
                self._looks.set()
                self._go_on.wait(PATIENCE)
            return look(session)

        monkeypatch.setattr(Session, "current_refusal", look_late)
        self._caller = Caller(lambda: watcher.watch(new_id()))
        assert self._looks.wait(PATIENCE)

    def outcome(self) -> ResultFuture:
        """Let it look, and return its future."""
        self._go_on.set()
        future = self._caller.outcome()
        assert isinstance(future, ResultFuture)
        return future


@pytest.fixture
def refusing(own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy) -> Iterator[ResultWatcher]:
    """A watcher that has given up: everybody may subscribe, and nobody may read."""
    policy = RetryPolicy(initial=0.01, maximum=0.05, give_up_after=0.1)
    with ResultWatcher(through(proxy), redis=ALERT, retry=policy) as watcher:
        watched_for_good(watcher, writer)
        own_redis.acl("SETUSER", "default", "-mget")
        assert isinstance(watcher.watch(new_id()).exception(PATIENCE), BackendUnavailableError)
        yield watcher


def test_a_watch_that_is_refused_late(
    refusing: ResultWatcher, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves in the middle of an attempt that would have shown, by reading its result, that nothing is mended."""
    late = LateLook(refusing, monkeypatch)
    proxy.hold(b"SUBSCRIBE")
    is_refused_at_once(refusing)
    wait_until(proxy.holding.is_set, "the attempt that a watch asks for")
    assert isinstance(late.outcome().exception(0), BackendUnavailableError)
    proxy.release()
    vain_attempts(proxy, meanwhile=lambda: is_refused_at_once(refusing))
    assert refusing.stats().state == "failed"


def test_a_watch_that_is_not_refused_any_more(
    refusing: ResultWatcher,
    own_redis: RedisServer,
    writer: ResultWriter,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was registered while it would have been, and looks when that is over."""
    late = LateLook(refusing, monkeypatch)
    # An attempt in vain would end it: the one that is asked for does not read before it may.
    proxy.hold(b"SUBSCRIBE")
    is_refused_at_once(refusing)
    wait_until(lambda: refusing.stats().watched == 4, "the thread to hear of it")
    own_redis.acl("SETUSER", "default", "+mget")
    proxy.release()
    wait_until(lambda: not refusing.watch(new_id()).done(), "the probe that a watch asks for")
    future = late.outcome()
    assert not future.done()
    writer.write(future.task_id, "found")
    assert future.result(PATIENCE) == "found"


@pytest.mark.parametrize("name", PASSING)
def test_from_the_start(own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy, name: str, told: Told) -> None:
    """Nothing has worked yet, and still it is no refusal: it passes by itself."""
    with ResultWatcher(through(proxy), redis=ALERT, retry=QUICK) as watcher:
        with TROUBLES[name](own_redis):
            future = watcher.watch(new_id())
            vain_attempts(proxy)
            assert not future.done()
            assert watcher.stats().state != "failed"
            assert told.levels == ["WARNING"]
        writer.write(future.task_id, name)
        assert future.result(PATIENCE) == name
        told.just("WARNING", "INFO")
        assert watcher.stats().reconnects == 0


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_from_the_start(
    own_redis: RedisServer, writer: ResultWriter, proxy: FaultProxy, name: str, told: Told
) -> None:
    """Final, with the cure, until a probe finds it mended; a server that lets us in has not mended it."""
    with ResultWatcher(through(proxy), redis=ALERT, retry=QUICK) as watcher:
        with TROUBLES[name](own_redis) as trouble:
            error = watcher.watch(new_id()).exception(PATIENCE)
            assert isinstance(error, BackendUnavailableError)
            assert trouble.words in str(error)
            assert trouble.cure in str(error)
            vain_attempts(proxy, meanwhile=lambda: is_refused_at_once(watcher))
            assert watcher.stats().state == "failed"
            assert told.levels == ["WARNING"]
        wait_until(lambda: not watcher.watch(new_id()).done(), "the probe that a watch asks for")
        future = watcher.watch(new_id())
        writer.write(future.task_id, "mended")
        assert future.result(PATIENCE) == "mended"
        told.just("WARNING", "INFO")


def test_cut_off_for_not_reading(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """While a callback holds the thread up, more arrives than the server cares to keep. All of it is read later."""
    own_redis.limit_output("pubsub", 1024 * 1024)
    held, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        began = time.monotonic()
        held.set()
        assert release.wait(PATIENCE)
        # Long enough for a line about it, however fast the machine is.
        wait_until(lambda: time.monotonic() - began > 2 * SLOW_CALLBACK, "the callback to take long")

    with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
        first = watched_for_good(watcher, writer)
        futures = watcher.watch_many(new_ids(40))
        wait_until(lambda: len(writer.channels()) == 41, "the subscriptions")
        first.add_done_callback(hold)
        writer.write(first.task_id, 1)
        assert held.wait(PATIENCE)
        text = "x" * (1024 * 1024)
        # One after the other: what the kernel takes does not count, so it takes a few to fill all buffers.
        for number, future in enumerate(futures):
            writer.write(future.task_id, [number, text])
        wait_until(lambda: not writer.channels(), "the server to have had enough")
        release.set()
        assert [future.result(PATIENCE)[0] for future in futures] == list(range(40))
        # The first line is about the callback.
        told.just("WARNING", "WARNING", "INFO")
        assert watcher.stats().reconnects == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_many_that_leave_at_once(own_redis: RedisServer, writer: ResultWriter) -> None:
    """The server confirms each, and all of that at once would be more than it cares to keep."""
    with ResultWatcher(own_redis.url(), retry=QUICK, max_pending=300_000) as watcher:
        stays = watched_for_good(watcher, writer)
        futures = watcher.watch_many(new_ids(250_000))
        # To list them all takes the server a while, in which it does nothing else.
        wait_until(lambda: len(writer.channels()) == len(futures) + 1, "the subscriptions", 60, interval=0.5)
        # What the buffers of the kernel take does not count: some 100 000 confirmations.
        own_redis.limit_output("pubsub", 1024 * 1024)
        futures.clear()
        wait_until(lambda: len(writer.channels()) == 1, "all to leave", 60, interval=0.5)
        writer.write(stays.task_id, "still here")
        assert stays.result(PATIENCE) == "still here"
        assert watcher.stats().reconnects == 0
