"""Sentinels that take their time, or do not answer at all: nobody is held up by a question."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from bgresults import BackendUnavailableError
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.fake_sentinel import FakeSentinel
from tests.support.forks import run_in_child
from tests.support.logs import Told
from tests.support.outages import PATIENCE, watched_for_good
from tests.support.results import ResultWriter, new_id
from tests.support.sentinels import CURIOUS, heard, watching
from tests.support.sockets import connections
from tests.support.timeouts import times_out_in_time


def test_two_connections_and_none_to_a_sentinel(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    before = connections(own_redis.port)
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port, options=CURIOUS) as watcher:
        watched_for_good(watcher, writer)
        asked = sentinel.asked
        wait_until(lambda: sentinel.asked > asked + 3, "it to be asked again and again", PATIENCE)
        assert connections(own_redis.port) == before + 2
        watcher.close()
        assert connections(sentinel.port) == 0
    told.just()


def test_a_sentinel_that_keeps_silent(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """It gets its share of the time, and no more; and it is not asked again while others answer."""
    with socket.create_server(("127.0.0.1", 0)) as mute, FakeSentinel(own_redis.port) as sentinel:
        port = mute.getsockname()[1]
        with watching(port, sentinel.port, options=CURIOUS, connect_timeout=4.0) as watcher:
            assert heard(watcher, writer)
            asked = sentinel.asked
            wait_until(lambda: sentinel.asked > asked + 3, "it to be asked again and again", PATIENCE)
            # Taken in now, so that one that comes after these would be seen.
            mute.setblocking(False)
            visits = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    mute.accept()[0].close()
                    visits += 1
            assert visits == 1
    told.just()


def test_no_sentinel_answers(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    with (
        FakeSentinel(own_redis.port) as one,
        FakeSentinel(own_redis.port) as other,
        FaultProxy(one.port) as first,
        FaultProxy(other.port) as second,
    ):
        first.refuse()
        second.refuse()
        with watching(first.port, second.port) as watcher:
            future = watcher.watch(new_id())
            told.just("WARNING")
            with pytest.raises(FutureTimeoutError):
                future.result(0.05)
            assert "no sentinel answers" in told.text
            second.pass_through()
            assert heard(watcher, writer)
            writer.write(future.task_id, "later")
            assert future.result(PATIENCE) == "later"
            told.just("WARNING", "INFO")


def test_they_all_go_while_the_master_stays(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """That nobody can be asked is no reason to leave a server that works."""
    with (
        FakeSentinel(own_redis.port) as sentinel,
        FaultProxy(sentinel.port) as proxy,
        watching(proxy.port, options=CURIOUS) as watcher,
    ):
        watched_for_good(watcher, writer)
        proxy.garbage(b"neither here nor there\r\n", greet=True)
        tries = proxy.connections_made
        wait_until(lambda: proxy.connections_made > tries + 1, "it to be asked in vain", PATIENCE)
        assert heard(watcher, writer)
        assert watcher.stats().reconnects == 0
    told.just()


@pytest.mark.parametrize("held", ["the greeting", "the answer"])
def test_a_fork_in_the_middle_of_a_question(own_redis: RedisServer, writer: ResultWriter, held: str) -> None:
    """The child closes its copy of the socket, says nothing on it, and asks for itself."""
    with FakeSentinel(own_redis.port) as sentinel, FaultProxy(sentinel.port, record=True) as proxy:
        proxy.hold(b"PING" if held == "the greeting" else b"SENTINEL")
        with watching(proxy.port, connect_timeout=PATIENCE) as watcher:
            future = watcher.watch(new_id())
            wait_until(proxy.holding.is_set, "the question", PATIENCE)
            said = proxy.recorded("to_server")
            assert connections(proxy.port) == 1

            def child() -> None:
                assert connections(proxy.port) == 0, "the inherited socket was closed"
                watcher.close()

            assert run_in_child(child) == 0
            assert proxy.recorded("to_server") == said
            proxy.release()
            writer.write(future.task_id, "parent's")
            assert future.result(PATIENCE) == "parent's"
            assert watcher.stats().reconnects == 0


@pytest.mark.slow
def test_timeouts_are_kept_while_they_are_asked(own_redis: RedisServer) -> None:
    """Whoever waits is not held up by a question, however long that takes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        watching(mute.getsockname()[1], connect_timeout=PATIENCE) as watcher,
    ):
        future = watcher.watch(new_id())
        assert times_out_in_time(future, 0.2)
        started = time.monotonic()
        watcher.close(timeout=0.1)
        assert time.monotonic() - started < 10
        # Or the thread would go on with its question.
        mute.close()


def test_an_attempt_ends_in_time() -> None:
    """However many sentinels keep silent."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(40)]
        watcher = stack.enter_context(watching(*ports, connect_timeout=0.5, on_disconnect="fail"))
        started = time.monotonic()
        assert isinstance(watcher.watch(new_id()).exception(PATIENCE), BackendUnavailableError)
        # Half a second for each of them would be twice that.
        assert time.monotonic() - started < 10


def test_an_attempt_ends_in_time_however_slowly_one_talks(own_redis: RedisServer) -> None:
    with FakeSentinel(own_redis.port) as sentinel, FaultProxy(sentinel.port) as proxy:
        # Each byte comes in time, all of them half a minute later.
        proxy.trickle(1, 0.2)
        with watching(proxy.port, connect_timeout=0.5, on_disconnect="fail") as watcher:
            started = time.monotonic()
            assert isinstance(watcher.watch(new_id()).exception(PATIENCE), BackendUnavailableError)
            assert time.monotonic() - started < 10
