"""Servers that take no writes. Nothing that we send writes, so results arrive from them as from any other."""

from __future__ import annotations

import os

import pytest
import redis

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.logs import Told
from tests.support.outages import ALERT, PATIENCE
from tests.support.results import ResultWriter, new_id, new_ids, state_body


def pings(client: redis.Redis, kind: str = "calls") -> int:
    """How many PINGs the server has answered; ``kind="rejected_calls"``: with an error."""
    return int(client.info("commandstats").get("cmdstat_ping", {}).get(kind, 0))


def a_message_arrives(watcher: ResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_id())
    wait_until(lambda: future.task_id in writer.channels(), "the subscription")
    writer.publish(future.task_id, "published")
    assert future.result(PATIENCE) == "published"


def test_a_replica(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    own_redis.config("repl-diskless-sync-delay", 0)
    with RedisServer(args=["--replicaof", "127.0.0.1", str(own_redis.port)]) as replica:
        listener = ResultWriter(replica)
        wait_until(lambda: listener.client.info("replication")["master_link_status"] == "up", "the replication")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            listener.store(new_id(), 1)
        with ResultWatcher(replica.url(), redis=ALERT) as watcher:
            before = new_id()
            writer.store(before, "before")
            wait_until(lambda: listener.client.exists(listener.key(before)), "the copy")
            assert watcher.watch(before).result(PATIENCE) == "before"
            futures = watcher.watch_many(new_ids(50))
            wait_until(lambda: len(listener.channels()) == 50, "the subscriptions")
            writer.write_all({future.task_id: state_body(future.task_id, result="copied") for future in futures})
            assert {future.result(PATIENCE) for future in futures} == {"copied"}
            seen = pings(listener.client)
            wait_until(lambda: pings(listener.client) >= seen + 4, "several health checks")
            assert watcher.stats().reconnects == 0
        listener.close()
    assert told.levels == []


def test_a_server_without_room_for_data(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    stored = new_id()
    writer.store(stored, 1)
    writer.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        writer.store(new_id(), 1)
    with ResultWatcher(own_redis.url(), redis=ALERT) as watcher:
        assert watcher.watch(stored).result(PATIENCE) == 1
        a_message_arrives(watcher, writer)
    assert told.levels == []


def test_a_server_that_cannot_save(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """MISCONF is said to whoever writes, and to whoever PINGs: an answer all the same, and no dead link."""
    stored = new_id()
    writer.store(stored, 1)
    own_redis.config("save", "3600 1")
    folder = os.fsdecode(writer.client.config_get("dir")["dir"] or "")
    # In the way of the file that the server saves to.
    obstacle = os.path.join(folder, "dump.rdb")
    os.mkdir(obstacle)
    try:
        writer.client.bgsave()
        wait_until(lambda: writer.client.info("persistence")["rdb_last_bgsave_status"] == "err", "the failure")
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            writer.store(new_id(), 1)
        with ResultWatcher(own_redis.url(), redis=ALERT) as watcher:
            assert watcher.watch(stored).result(PATIENCE) == 1
            seen = pings(writer.client, "rejected_calls")
            wait_until(lambda: pings(writer.client, "rejected_calls") >= seen + 4, "several health checks")
            a_message_arrives(watcher, writer)
            assert watcher.stats().reconnects == 0
    finally:
        os.rmdir(obstacle)
    assert told.levels == []
