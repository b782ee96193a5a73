"""What the benchmarks of scale count with: a fleet of watchers, idle connections, and a server's own figures."""

from __future__ import annotations

import time
from multiprocessing import resource_tracker

import pytest

from bgresults.benchmarking.bystanders import Bystanders
from bgresults.benchmarking.fleet import Fleet
from bgresults.benchmarking.redis_gauge import RedisGauge
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids


@pytest.fixture(scope="module", autouse=True)
def _resource_tracker() -> None:
    """Multiprocessing starts one for the life of this process, with the first process that is spawned."""
    resource_tracker.ensure_running()


def channels_of(task_ids: list[str]) -> set[str]:
    return {f"celery-task-meta-{task_id}" for task_id in task_ids}


def test_a_fleet_and_its_figures(own_redis: RedisServer) -> None:
    with RedisGauge(own_redis) as gauge, Fleet(own_redis.url(), processes=1, each=2) as fleet:
        before = gauge.read()
        task_ids = new_ids(4)
        fleet.watch(task_ids)
        wait_until(lambda: own_redis.channels() == channels_of(task_ids), "all ids are subscribed")
        assert len(own_redis.clients("pubsub")) == fleet.size == 2
        writer = ResultWriter(own_redis)
        for task_id in task_ids:
            writer.write(task_id, 1)
        writer.close()
        assert fleet.collect() <= time.monotonic()
        spent = gauge.read() - before
        assert (spent.called("publish"), spent.called("subscribe")) == (4, 2)
        assert spent.seconds > 0
        # A connection without a subscription is no longer one of this kind.
        others = new_ids(2)
        fleet.watch(others)
        # As many may be there in between, some of those that go among them.
        wait_until(lambda: own_redis.channels() == channels_of(others), "the next ones are subscribed")
        assert own_redis.client_kill("pubsub") == 2
        assert fleet.reconnected(2) <= time.monotonic()


def test_bystanders(own_redis: RedisServer) -> None:
    """Two connections for each web process; gone with their owner."""
    with Bystanders(own_redis.port, 2, channels=600, patterns=3):
        assert len(own_redis.channels()) == 1200
        subscribers = own_redis.clients("pubsub")
        assert sorted((int(each["sub"]), int(each["psub"])) for each in subscribers) == [(600, 0), (600, 3)]
        assert sum(each["cmd"] == "ping" for each in own_redis.clients()) == 2
    wait_until(lambda: not own_redis.channels(), "they are gone")
