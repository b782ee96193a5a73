"""What sentinels may say, and which of them is believed. The servers are real, the sentinels are not."""

from __future__ import annotations

from typing import Any

import pytest
import redis.sentinel

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.fake_sentinel import FakeSentinel
from tests.support.logs import Told
from tests.support.outages import PATIENCE, watched_for_good
from tests.support.results import ResultWriter, new_id, state_body
from tests.support.sentinels import CURIOUS, NAMED, heard, replica_of, sentinel_url, watching
from tests.support.sockets import connections


def test_a_master_that_is_a_replica(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """A stale answer, or a failover that is not over: nobody stays with a replica, and it is asked again."""
    with (
        replica_of(own_redis) as replica,
        FakeSentinel(replica.port) as sentinel,
        watching(sentinel.port) as watcher,
    ):
        future = watcher.watch(new_id())
        wait_until(lambda: sentinel.asked > 3, "several attempts", PATIENCE)
        assert not watcher.connected
        writer.store(future.task_id, "stored")
        told.just("WARNING")
        assert "it is none; a failover may be under way" in told.text
        sentinel.master_port = own_redis.port
        assert future.result(PATIENCE) == "stored"
        told.just("WARNING", "INFO")
        assert heard(watcher, writer)


def test_another_sentinel_knows_better(own_redis: RedisServer, writer: ResultWriter) -> None:
    """They take turns, so that one that is always wrong is not believed for ever."""
    with (
        replica_of(own_redis) as replica,
        FakeSentinel(replica.port) as wrong,
        FakeSentinel(own_redis.port) as right,
        watching(wrong.port, right.port) as watcher,
    ):
        assert heard(watcher, writer)
        assert wrong.asked


def test_the_wrong_name(own_redis: RedisServer, writer: ResultWriter) -> None:
    with (
        FakeSentinel(own_redis.port, name="yourmaster") as sentinel,
        ResultWatcher(sentinel_url(sentinel.port), redis=NAMED) as watcher,
    ):
        error = watcher.watch(new_id()).exception(PATIENCE)
        assert isinstance(error, BackendUnavailableError)
        assert "know no master 'mymaster'; they know 'yourmaster' (check master_name)" in str(error)
        assert watcher.watch(new_id()).done(), "refused at once"
        with pytest.raises(BackendUnavailableError, match="yourmaster"):
            watcher.wait_ready(PATIENCE)


def test_a_name_that_is_forgotten_later(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """After a first success the same is an outage: sentinels are set up anew while clients are connected."""
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port) as watcher:
        future = watched_for_good(watcher, writer)
        sentinel.name = "yourmaster"
        own_redis.client_kill("pubsub")
        asked = sentinel.asked
        wait_until(lambda: sentinel.asked > asked + 2, "attempts", PATIENCE)
        writer.store(future.task_id, "stored")
        sentinel.name = "mymaster"
        assert future.result(PATIENCE) == "stored"
        told.just("WARNING", "INFO")


def test_no_sentinel_at_all(own_redis: RedisServer) -> None:
    """A server instead of a sentinel: a wrong port, most likely."""
    with ResultWatcher(sentinel_url(own_redis.port), redis=NAMED) as watcher:
        error = watcher.watch(new_id()).exception(PATIENCE)
    assert isinstance(error, BackendUnavailableError)
    assert "check the addresses of the sentinels" in str(error)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"+OK\r\n",
        b"*1\r\n*2\r\n$4\r\nname\r\n$8\r\nmymaster\r\n",
        b"*1\r\n*4\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$5\r\nflags\r\n$6\r\nmaster\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_nonsense(own_redis: RedisServer, writer: ResultWriter, told: Told, nonsense: bytes) -> None:
    with FakeSentinel(own_redis.port) as sentinel:
        sentinel.answer = nonsense
        with watching(sentinel.port) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: sentinel.asked > 3, "several attempts", PATIENCE)
            assert not future.done()
            sentinel.answer = None
            writer.write(future.task_id, 1)
            assert future.result(PATIENCE) == 1
            # Not after the end of the watcher, which may come before the line.
            told.just("WARNING", "INFO")


def test_a_master_that_is_down(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    with FakeSentinel(own_redis.port) as sentinel:
        sentinel.flags = "master,s_down,o_down"
        with watching(sentinel.port) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: sentinel.asked > 3, "several attempts", PATIENCE)
            assert "is down, the sentinels say" in told.text
            sentinel.flags = "master"
            writer.write(future.task_id, 1)
            assert future.result(PATIENCE) == 1


def test_too_few_other_sentinels(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    options = RedisOptions(master_name="mymaster", min_other_sentinels=2)
    with FakeSentinel(own_redis.port) as lonely, FakeSentinel(own_redis.port) as believed:
        lonely.others = believed.others = 1
        with watching(lonely.port, believed.port, options=options) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: lonely.asked > 3, "several attempts", PATIENCE)
            assert "know 1 others, and min_other_sentinels=2 are needed" in told.text
            believed.others = 2
            writer.write(future.task_id, 1)
            assert future.result(PATIENCE) == 1


def test_another_master_while_the_old_one_stays(own_redis: RedisServer, told: Told) -> None:
    """Two servers that believe to be the master, and a connection that works to the wrong one."""
    with RedisServer() as new, FakeSentinel(own_redis.port) as sentinel:
        old_writer, new_writer = ResultWriter(own_redis), ResultWriter(new)
        base = connections(own_redis.port), connections(new.port)
        with watching(sentinel.port, options=CURIOUS) as watcher:
            future = watched_for_good(watcher, old_writer)
            new_writer.store(future.task_id, "stored before we came")
            sentinel.master_port, sentinel.epoch = new.port, 2
            assert future.result(PATIENCE) == "stored before we came"
            assert heard(watcher, new_writer)
            assert (connections(own_redis.port), connections(new.port)) == (base[0], base[1] + 2)
            assert watcher.stats().reconnects == 1
        old_writer.close()
        new_writer.close()
    told.just("WARNING", "INFO")
    assert f"the master is now at 127.0.0.1:{new.port}, the sentinels say" in told.text


def test_one_that_missed_the_failover(own_redis: RedisServer, told: Told) -> None:
    """It believes in the old master still, which does so itself. Its configuration is older than that of the others."""
    with RedisServer() as new, FakeSentinel(new.port) as one, FakeSentinel(own_redis.port) as left_behind:
        one.epoch = 2
        writer = ResultWriter(new)
        with watching(one.port, left_behind.port, options=CURIOUS) as watcher:
            future = watched_for_good(watcher, writer)
            asked = left_behind.asked
            wait_until(lambda: left_behind.asked > asked + 3, "it to be asked", PATIENCE)
            assert watcher.stats().reconnects == 0
            writer.write(future.task_id, 1)
            assert future.result(PATIENCE) == 1
        writer.close()
    told.just()


@pytest.mark.slow
def test_sentinels_that_were_set_up_anew(own_redis: RedisServer, writer: ResultWriter) -> None:
    """They begin with old numbers, and are believed when no one else is there."""
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port) as watcher:
        sentinel.epoch = 10
        watched_for_good(watcher, writer)
        sentinel.epoch = 0
        own_redis.client_kill("pubsub")
        assert heard(watcher, writer)


@pytest.mark.slow
def test_another_name_for_the_same_server(own_redis: RedisServer, writer: ResultWriter, told: Told) -> None:
    """Some sentinels give names, some addresses: that is no failover."""
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port, options=CURIOUS) as watcher:
        watched_for_good(watcher, writer)
        plain = sentinel.masters()
        sentinel.answer = plain.replace(b"$9\r\n127.0.0.1\r\n", b"$9\r\nlocalhost\r\n")
        assert sentinel.answer != plain
        asked = sentinel.asked
        wait_until(lambda: sentinel.asked > asked + 3, "it to be asked", PATIENCE)
        assert watcher.stats().reconnects == 0
    told.just()


def test_a_user_who_may_not_ask_for_the_role(own_redis: RedisServer) -> None:
    """ROLE counts as dangerous, so few users may say it: the least-privilege user of the README may not."""
    own_redis.acl(
        "SETUSER", "web", "on", ">secret", "resetchannels", "&*celery-task-meta-*", "~*celery-task-meta-*",
        "-@all", "+subscribe", "+unsubscribe", "+mget", "+ping", "+select",
    )  # fmt: skip
    writer = ResultWriter(own_redis)
    options = RedisOptions(master_name="mymaster", username="web", password="secret")
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port, options=options) as watcher:
        assert heard(watcher, writer)
    writer.close()


def test_a_class_of_connections(own_redis: RedisServer, writer: ResultWriter) -> None:
    """One of the user's own, which opens its sockets by itself: to the master that the sentinels name."""
    options = RedisOptions(master_name="mymaster", connection_class=redis.Connection)
    with (
        replica_of(own_redis) as replica,
        FakeSentinel(replica.port) as sentinel,
        watching(sentinel.port, options=options) as watcher,
    ):
        future = watcher.watch(new_id())
        wait_until(lambda: sentinel.asked > 2, "several attempts", PATIENCE)
        assert not watcher.connected
        sentinel.master_port = own_redis.port
        writer.write(future.task_id, 1)
        assert future.result(PATIENCE) == 1


def test_a_server_before_redis_6() -> None:
    """It has no HELLO, and says by ROLE what it is."""
    with RedisServer(args=["--rename-command", "HELLO", ""]) as old:
        args = ["--rename-command", "HELLO", "", "--replicaof", "127.0.0.1", str(old.port)]
        with (
            RedisServer(args=args) as replica,
            FakeSentinel(replica.port) as sentinel,
            watching(sentinel.port) as watcher,
        ):
            future = watcher.watch(new_id())
            wait_until(lambda: sentinel.asked > 3, "several attempts", PATIENCE)
            assert not watcher.connected
            with old.client(protocol=2) as client:
                client.set(f"celery-task-meta-{future.task_id}", state_body(future.task_id, result="old"))
            sentinel.master_port = old.port
            assert future.result(PATIENCE) == "old"


def test_redis_py_is_asked(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the sentinels to believe is redis-py's to say."""
    believed = []
    check: Any = redis.sentinel.Sentinel.check_master_state

    def noticed(self: Any, state: Any, service_name: str) -> Any:
        believed.append(service_name)
        return check(self, state, service_name)

    monkeypatch.setattr(redis.sentinel.Sentinel, "check_master_state", noticed)
    with FakeSentinel(own_redis.port) as sentinel, watching(sentinel.port) as watcher:
        assert watcher.wait_ready(PATIENCE)
    assert believed == ["mymaster"]
