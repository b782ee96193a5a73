"""A connection that is made again behind the watcher's back loses, without a word, what was said in between.

redis-py likes to do that. So nobody but the watcher may connect, and each loss is noticed, counted and made up for.
"""

from __future__ import annotations

import pytest
import redis

from bgresults import RedisOptions, ResultWatcher
from bgresults.consumers import ConnectionLost
from bgresults.consumers.redis import ResultConsumer, readers
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.logs import Told
from tests.support.outages import watched_for_good
from tests.support.results import ResultWriter, state_body

WAIT = 10


@pytest.fixture(params=["default", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one that is installed, and redis-py's own, which reads through redis-py's methods."""
    if request.param == "python":
        monkeypatch.setattr(readers, "hiredis", None)
    return str(request.param)


def connections_received(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_a_killed_connection_is_one_reconnect(
    own_redis: RedisServer, writer: ResultWriter, kind: str, told: Told
) -> None:
    """Killed in the very transaction that brings the result: no moment in which anybody could hear of it."""
    with ResultWatcher(own_redis.url()) as watcher:
        for number in range(1, 6):
            told.clear()
            future = watched_for_good(watcher, writer)
            before = connections_received(writer.client)
            body = state_body(future.task_id, result=number)
            with writer.client.pipeline(transaction=True) as pipeline:
                pipeline.execute_command("CLIENT", "KILL", "TYPE", kind)
                pipeline.set(writer.key(future.task_id), body, ex=600)
                pipeline.publish(writer.key(future.task_id), body)
                killed, *_ = pipeline.execute()
            assert killed == 1
            assert future.result(WAIT) == number
            told.just("WARNING", "INFO")
            stats = watcher.stats()
            assert stats.reconnects == number
            assert connections_received(writer.client) - before == 2, "the subscriber and the reader, once each"
            if kind == "pubsub":
                assert stats.recovered == number, "nobody was there to hear the message"


@pytest.mark.parametrize("connection_class", [None, redis.Connection])
def test_an_attempt_is_one_connection(connection_class: type | None) -> None:
    """Every failed attempt is known to whoever decides about the next one, its time and its log line."""
    options = RedisOptions(username="app", password="secret", connection_class=connection_class)
    with FaultProxy(CLOSED_PORT) as proxy:
        # It lets us in, and resets the connection as soon as it finds nobody behind it: that is, during AUTH.
        consumer = ResultConsumer(f"redis://127.0.0.1:{proxy.port}/0", options=options, auto_reconnect=False)
        for attempts in range(1, 4):
            with pytest.raises(ConnectionLost):
                consumer.reconnect()
            assert proxy.connections_made == attempts
        wait_until(lambda: proxy.connections == 0, "the end of the last one")
