"""LOADING: a server that has just started reads its data first. It passes by itself, however early we come."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from bgresults import BackendUnavailableError, ResultWatcher
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.logs import Told
from tests.support.outages import PATIENCE, QUICK, is_refused_at_once, through, vain_attempts, watched_for_good
from tests.support.results import ResultWriter, new_id

# It looks at its clients after every two mebibytes, and sleeps that many microseconds after every value.
_VALUES, _SIZE, _DELAY = 40, 2 * 1024 * 1024, 100_000


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that loads slowly."""
    with RedisServer(args=["--key-load-delay", str(_DELAY), "--rdbcompression", "no"]) as server:
        yield server


@pytest.fixture
def stored(own_redis: RedisServer, writer: ResultWriter) -> str:
    """The id of a result that is there when the server has loaded."""
    task_id = new_id()
    writer.store(task_id, "stored")
    for number in range(_VALUES):
        writer.client.set(f"ballast-{number}", "x" * _SIZE)
    own_redis.save()
    return task_id


def begin_to_load(server: RedisServer) -> None:
    server.kill()
    server.start()


def finish_loading(server: RedisServer) -> None:
    # Before Redis 7 it does not listen to that while it loads, and takes a few seconds more.
    with contextlib.suppress(redis.ResponseError):
        server.config("key-load-delay", 0)


def test_when_we_come(own_redis: RedisServer, writer: ResultWriter, stored: str, proxy: FaultProxy, told: Told) -> None:
    """Nothing has worked yet, and still it is no refusal."""
    begin_to_load(own_redis)
    with ResultWatcher(through(proxy), retry=QUICK) as watcher:
        future = watcher.watch(stored)
        vain_attempts(proxy, 4)
        assert not future.done()
        assert not watcher.wait_ready(0.01)
        assert "loading the dataset" in told.text
        finish_loading(own_redis)
        assert future.result(PATIENCE) == "stored"
        told.just("WARNING", "INFO")
        assert watcher.stats().reconnects == 0


def test_when_we_come_and_do_not_wait(own_redis: RedisServer, stored: str, proxy: FaultProxy, told: Told) -> None:
    begin_to_load(own_redis)
    with ResultWatcher(through(proxy), retry=QUICK, on_disconnect="fail") as watcher:
        error = watcher.watch(stored).exception(PATIENCE)
        assert isinstance(error, BackendUnavailableError)
        assert "loading the dataset" in str(error)
        vain_attempts(proxy, 4, meanwhile=lambda: is_refused_at_once(watcher))
        assert watcher.stats().state != "failed"
        finish_loading(own_redis)
        assert watcher.wait_ready(PATIENCE)
        assert watcher.watch(stored).result(PATIENCE) == "stored"
        told.just("WARNING", "INFO")


def test_after_a_restart(
    own_redis: RedisServer, writer: ResultWriter, stored: str, proxy: FaultProxy, told: Told
) -> None:
    """One outage from the end of the old server to the end of the loading."""
    with ResultWatcher(through(proxy), retry=QUICK) as watcher:
        pending = watched_for_good(watcher, writer)
        begin_to_load(own_redis)
        late = watcher.watch(stored)
        vain_attempts(proxy, 4)
        assert not late.done()
        assert told.levels == ["WARNING"]
        finish_loading(own_redis)
        assert late.result(PATIENCE) == "stored"
        wait_until(lambda: pending.task_id in writer.channels(), "the subscription")
        writer.write(pending.task_id, "later")
        assert pending.result(PATIENCE) == "later"
        told.just("WARNING", "INFO")
        assert watcher.stats().reconnects == 1
