"""health(): how a watcher is doing, at every moment of its life."""

from __future__ import annotations

import json
import time

import pytest

from bgresults import BackendUnavailableError, ResultWatcher, RetryPolicy, WatcherHealth
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id

WAIT = 30
QUICK = RetryPolicy(initial=0.01, maximum=0.05)


def test_idle(redis_url: str) -> None:
    watcher = ResultWatcher(redis_url, name="web")
    health = watcher.health()
    assert (health.state, health.connected, health.healthy) == ("idle", False, True)
    assert (health.name, health.address) == ("web", redis_url)
    assert (health.oldest_pending, health.last_message, health.last_error) == (None, None, None)
    assert not health.thread_alive, "asking starts nothing"
    assert abs(time.time() - health.since) < WAIT
    watcher.close()
    closed = watcher.health()
    assert (closed.state, closed.healthy) == ("closed", False)


def test_at_work(watcher: ResultWatcher, writer: ResultWriter) -> None:
    made = time.time()
    oldest = watcher.watch(new_id())
    assert watcher.wait_ready(WAIT)
    younger = watcher.watch(new_id())
    wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
    health = watcher.health()
    assert (health.state, health.connected, health.healthy, health.pending) == ("draining", True, True, 2)
    assert made - 1 < health.since < time.time() + 1
    assert health.last_message is None
    age = health.oldest_pending
    assert age is not None
    assert 0 <= age < WAIT
    wait_until(lambda: (watcher.health().oldest_pending or 0) > age + 0.05, "time to pass")
    writer.write(oldest.task_id, 1)
    oldest.result(WAIT)
    wait_until(lambda: watcher.health().last_message is not None, "the message to be noted")
    alone = watcher.health()
    assert alone.pending == 1
    assert alone.oldest_pending is not None
    assert 0 <= (alone.last_message or 0) < WAIT
    younger.cancel()
    assert watcher.health().oldest_pending is None


def test_the_oldest_is_older_than_what_came_later(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """Whatever is resolved, cancelled or joined meanwhile."""
    first = watcher.watch(new_id())
    wait_until(lambda: watcher.health().oldest_pending is not None, "the first to be noticed")
    begun = time.monotonic()
    joined = watcher.watch(first.task_id)
    later = [watcher.watch(new_id()) for _ in range(3)]
    # Before it is asked: the two clocks are looked at one after the other.
    waited = time.monotonic() - begun
    assert (watcher.health().oldest_pending or 0) >= waited
    writer.write(first.task_id, 1)
    assert joined.result(WAIT) == 1
    wait_until(lambda: watcher.health().oldest_pending is not None, "another one to be the oldest")
    assert (watcher.health().oldest_pending or 0) <= time.monotonic() - begun
    for future in later:
        future.cancel()


def test_an_outage(own_redis: RedisServer) -> None:
    with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
        assert watcher.wait_ready(WAIT)
        connected_since = watcher.health().since
        own_redis.kill()
        wait_until(lambda: not watcher.health().healthy, "the outage to be noticed")
        # Attempts to connect are made, and that looks like a first one at times.
        seen: set[str] = set()

        def several_states() -> bool:
            health = watcher.health()
            seen.add(health.state)
            assert not health.healthy
            assert health.since > connected_since
            assert health.last_error
            return {"connecting", "backoff"} <= seen

        wait_until(several_states, "an attempt to connect", WAIT, interval=0.0005)
        own_redis.start()
        assert watcher.wait_ready(WAIT)
        # It is ready a moment before the outage is over.
        wait_until(lambda: watcher.health().healthy, "the end of the outage")
        after = watcher.health()
        assert (after.healthy, after.connected, after.reconnects) == (True, True, 1)
        assert after.last_error, "the last one, also after it is over"


def test_no_password_anywhere(own_redis: RedisServer) -> None:
    """Refused for good: the server's words and the cure, and nothing that is secret."""
    with own_redis.client() as client:
        client.acl_setuser("web", enabled=True, passwords=["+right"], commands=["+@all"], keys=["*"], channels=["*"])
    url = own_redis.url().replace("redis://", "redis://web:sesame@")
    with ResultWatcher(url) as watcher:
        with pytest.raises(BackendUnavailableError):
            watcher.wait_ready(WAIT)
        health = watcher.health()
        assert (health.state, health.healthy) == ("failed", False)
        assert "check the user name and the password" in (health.last_error or "")
        text = json.dumps(health.as_dict())
        assert "sesame" not in text
        assert "web:***@" in text
        assert WatcherHealth(**json.loads(text)) == health


def test_nobody_listens() -> None:
    with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0", retry=QUICK) as watcher:
        assert not watcher.wait_ready(0.05)
        wait_until(lambda: not watcher.health().healthy, "the first attempt to fail")
        assert "refused" in (watcher.health().last_error or "")


def test_in_a_forked_child(watcher: ResultWatcher) -> None:
    assert watcher.wait_ready(WAIT)

    def child() -> None:
        health = watcher.health()
        assert (health.state, health.connected, health.healthy) == ("idle", False, True)

    assert run_in_child(child) == 0
