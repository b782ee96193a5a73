"""The drop-in and Celery's own backend, side by side in what Celery's own cannot do."""

from __future__ import annotations

import pytest

from bgresults.testing import RedisServer
from tests.celery import both_sides
from tests.celery.both_sides import tried

THREADS = 200


def ours(server: RedisServer) -> str:
    return f"bgresults+{server.url()}"


def test_short_time_limits(own_redis: RedisServer) -> None:
    """Celery's drainer looks at the time once in a second."""
    found = tried(both_sides.short_time_limit, ours(own_redis), times=5, quick=0.07)
    assert found["error"] == "TimeoutError"
    assert 0.05 <= found["seconds"] < 0.07
    assert tried(both_sides.short_time_limit, own_redis.url(), times=1)["seconds"] >= 0.9


def test_connections(own_redis: RedisServer) -> None:
    """Two, for any number of threads; with Celery, two for each."""
    found = tried(both_sides.crowd, ours(own_redis), size=THREADS)
    assert found == {"right": THREADS, "connections": 2}
    assert tried(both_sides.crowd, own_redis.url(), size=8, least=16)["connections"] >= 16


def test_a_message_that_cannot_be_read(own_redis: RedisServer) -> None:
    """It hurts whoever asked for it; with Celery, whoever reads it."""
    found = tried(both_sides.poisoned, ours(own_redis))
    assert found == {"healthy": "done", "poisoned": ["ResultDecodeError"]}
    assert tried(both_sides.poisoned, own_redis.url())["healthy"] == "DecodeError"


def test_forks(own_redis: RedisServer) -> None:
    assert tried(both_sides.forks, ours(own_redis), patience=20) == {"right": 5}
    # Parent and children take each other's messages, or by chance their own.
    assert any(tried(both_sides.forks, own_redis.url())["right"] < 5 for _ in range(5))


def test_an_outage(own_redis: RedisServer) -> None:
    """A second is a second, also while the server is gone."""
    taken: list[float] = []
    # Not each time: the machine may have other things to do for two more.
    while len(taken) < 3 and (not taken or taken[-1] >= 3):
        own_redis.restart()
        found = tried(both_sides.outage, ours(own_redis), server=own_redis.pid)
        assert found["error"] == "TimeoutError"
        taken.append(found["seconds"])
    assert 1 <= taken[-1] < 3


@pytest.mark.slow
def test_an_outage_with_celery(own_redis: RedisServer) -> None:
    """It tries twenty times, and gives up for good."""
    found = tried(both_sides.outage, own_redis.url(), server=own_redis.pid)
    assert found["error"] == "RuntimeError"
    assert found["seconds"] > 10
