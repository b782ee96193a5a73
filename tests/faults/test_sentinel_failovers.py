"""A master, a replica and three real sentinels: what becomes of futures when the master changes, or does not answer."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from bgresults import ForkedError
from bgresults.testing import SentinelTrio
from tests.support import wait_until
from tests.support.forks import run_in_child
from tests.support.logs import Told
from tests.support.outages import watched_for_good
from tests.support.results import ResultWriter, new_ids
from tests.support.sockets import connections
from tests.support.trios import connections_before, two_to, watching, writing, written

WAIT = 30


def test_a_failover(told: Told) -> None:
    """What is pending finds the new master; two connections, before and after."""
    with SentinelTrio() as trio:
        before = connections_before(trio)
        with watching(trio) as watcher:
            futures = watcher.watch_many(new_ids(50))
            assert watcher.wait_ready(WAIT)
            two_to(trio.master, trio, before)
            new = trio.failover()
            with writing(trio) as writer:
                for future in futures:
                    writer.write(future.task_id, future.task_id)
                assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
                watched_for_good(watcher, writer)
            two_to(new, trio, before)
            told.just("WARNING", "INFO")
            assert watcher.stats().reconnects == 1


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["killed", "frozen"])
def test_a_master_that_dies_or_hangs(trouble: str, told: Told) -> None:
    with SentinelTrio() as trio, watching(trio) as watcher:
        futures = watcher.watch_many(new_ids(50))
        assert watcher.wait_ready(WAIT)
        old = trio.master
        before = connections_before(trio)
        if trouble == "killed":
            old.kill()
        else:
            old.pause()
        wait_until(lambda: not watcher.connected, "it to be noticed", WAIT)
        with pytest.raises(FutureTimeoutError):
            futures[0].result(0.05)
        new = trio.wait_for_failover(old)
        with writing(trio) as writer:
            for future in futures:
                writer.write(future.task_id, future.task_id)
        assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
        told.just("WARNING", "INFO")
        if trouble == "frozen":
            old.resume()
        else:
            old.start()
        trio.wait_for_replica()
        with writing(trio) as writer:
            watched_for_good(watcher, writer)
        assert watcher.stats().reconnects == 1, "the old master comes back as a replica, which concerns nobody"
        assert connections(trio.port_of(old)) <= before[trio.port_of(old)] - 2
        assert connections(trio.port_of(new)) == before[trio.port_of(new)] + 2


@pytest.mark.slow
def test_a_partition(told: Told) -> None:
    """The sentinels cannot reach the old master, which goes on as one, and keeps our connections: nobody is told."""
    with SentinelTrio(password="secret") as trio, watching(trio) as watcher:
        old = trio.master
        with writing(trio) as writer:
            future = watched_for_good(watcher, writer)
        trio.isolate(old)
        new = trio.wait_for_failover(old)
        assert old.command("ROLE")[0] == b"master"
        with writing(trio) as writer:
            writer.write(future.task_id, "on the new one")
            assert future.result(WAIT) == "on the new one"
            watched_for_good(watcher, writer)
            trio.readmit(old)
            trio.wait_for_replica()
            watched_for_good(watcher, writer)
        assert trio.master is new
        assert watcher.stats().reconnects == 1
        told.just("WARNING", "INFO")
        assert "the sentinels say" in told.text


@pytest.mark.slow
def test_a_demoted_master_that_keeps_its_clients(told: Told) -> None:
    """An administrator does it, so no client is cut.

    A replica passes on what is published at its master, but not what was published while it copied the data.
    """
    with SentinelTrio() as trio, watching(trio) as watcher:
        old, new = trio.master, trio.replica
        with writing(trio) as writer:
            future = watched_for_good(watcher, writer)
        for sentinel in trio.sentinels:
            sentinel.pause()
        new.command("REPLICAOF", "NO", "ONE")
        # Now they differ, and the one that follows has to copy everything.
        old.command("SET", "only", "here")
        direct = ResultWriter(new)
        direct.write(future.task_id, "while nobody follows")
        old.command("REPLICAOF", "127.0.0.1", new.port)
        wait_until(lambda: old.command("GET", direct.key(future.task_id)) is not None, "the copy", WAIT)
        with pytest.raises(FutureTimeoutError):
            future.result(0.5)
        for sentinel in trio.sentinels:
            sentinel.resume()
        assert future.result(WAIT) == "while nobody follows"
        direct.close()


@pytest.mark.slow
def test_without_sentinels(told: Told) -> None:
    """While the master lives nobody misses them; when it dies as well, that is an outage until they are back."""
    with SentinelTrio() as trio, watching(trio) as watcher:
        old = trio.master
        with writing(trio) as writer:
            future = watched_for_good(watcher, writer)
        for sentinel in trio.sentinels:
            sentinel.kill()
        direct = ResultWriter(old)
        watched_for_good(watcher, direct)
        direct.close()
        told.just()
        old.kill()
        wait_until(lambda: not watcher.connected, "the outage to be noticed", WAIT)
        with pytest.raises(FutureTimeoutError):
            future.result(1)
        told.just("WARNING")
        for sentinel in trio.sentinels:
            sentinel.start()
        trio.wait_for_failover(old)
        with writing(trio) as writer:
            written(writer, future.task_id, "at last")
        assert future.result(WAIT) == "at last"
        told.just("WARNING", "INFO")


@pytest.mark.slow
def test_a_fork() -> None:
    """Parent and child go on by themselves, through a failover too."""
    with SentinelTrio() as trio, watching(trio) as watcher:
        parents = watcher.watch_many(new_ids(10))
        with writing(trio) as writer:
            watched_for_good(watcher, writer)

        def child() -> None:
            assert isinstance(parents[0].exception(0), ForkedError)
            childs = watcher.watch_many(new_ids(10))
            assert watcher.wait_ready(WAIT)
            with writing(trio) as writer:
                for future in childs:
                    writer.write(future.task_id, "child's")
            assert {future.result(WAIT) for future in childs} == {"child's"}
            watcher.close()

        assert run_in_child(child) == 0
        assert watcher.stats().reconnects == 0
        trio.failover()
        with writing(trio) as writer:
            for future in parents:
                writer.write(future.task_id, "parent's")
        assert {future.result(WAIT) for future in parents} == {"parent's"}
