"""What the owner of a master, a replica and three sentinels can do to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.sentinel

from bgresults.testing import SentinelTrio, ThrowAwayCA
from tests.support import wait_until

# What it has to do is shown by the tests that use it; these look at it alone.
pytestmark = pytest.mark.slow

WAIT = 30
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trio() -> Iterator[SentinelTrio]:
    with SentinelTrio() as made:
        yield made


def named(trio: SentinelTrio) -> set[int]:
    """The ports that the running sentinels name."""
    return {one.master(trio.master_name)["port"] for one in trio.sentinels if one.running}


def test_they_know_each_other(trio: SentinelTrio) -> None:
    assert named(trio) == {trio.master.port}
    assert {trio.master, trio.replica} == set(trio.servers)
    for sentinel in trio.sentinels:
        state = sentinel.master("mymaster")
        assert (state["num-other-sentinels"], state["num-slaves"], state["quorum"]) == (2, 1, 2)
    with trio.client() as client:
        client.set("key", "value")
        assert client.wait(1, 1000) == 1
    assert trio.replica.command("GET", "key") == b"value"
    assert trio.start() is trio


def test_a_failover(trio: SentinelTrio) -> None:
    old = trio.master
    new = trio.failover()
    assert new is not old
    assert trio.master is new
    assert named(trio) == {new.port}
    assert new.command("ROLE")[0] == b"master"
    assert old.command("ROLE")[0] == b"slave"
    with trio.client() as client:
        client.set("later", "value")


def test_a_master_that_dies_and_comes_back(trio: SentinelTrio) -> None:
    old = trio.master
    old.kill()
    assert trio.wait_for_failover(old) is not old
    old.start()
    assert trio.wait_for_replica() is old


def test_a_master_that_hangs(trio: SentinelTrio) -> None:
    old = trio.master
    old.pause()
    new = trio.wait_for_failover(old)
    old.resume()
    assert trio.wait_for_replica() is old
    assert trio.master is new


def test_sentinels_that_die(trio: SentinelTrio) -> None:
    trio.wait_for_replica()
    trio.sentinels[0].kill()
    assert trio.failover() in trio.servers
    for sentinel in trio.sentinels[1:]:
        sentinel.kill()
    with pytest.raises(RuntimeError, match="no sentinel is running"):
        _ = trio.master
    for sentinel in trio.sentinels:
        sentinel.start()
    # What was decided while it was away the first one learns from the others.
    wait_until(lambda: len(named(trio)) == 1, "one opinion", WAIT)
    with pytest.raises(RuntimeError, match="password"):
        trio.isolate(trio.master)


def test_a_master_that_the_sentinels_cannot_reach() -> None:
    with SentinelTrio(password="secret") as trio:
        old = trio.master
        trio.isolate(old)
        new = trio.wait_for_failover(old)
        assert [server.command("ROLE")[0] for server in (old, new)] == [b"master", b"master"]
        trio.readmit(old)
        assert trio.wait_for_replica() is old


def test_passwords() -> None:
    with SentinelTrio(
        master_name="other",
        password="secret",
        acl=["user app on >word ~* &* +@all"],
        sentinel_password="hidden",
        sentinel_acl=["user asking on >hush -@all +sentinel|masters"],
    ) as trio:
        assert trio.url(3).startswith("sentinel://:secret@127.0.0.1:")
        assert trio.url(3).endswith("/3?master_name=other")
        with trio.client() as client:
            assert client.ping()
        # redis-py takes a wrong password for an outage, and would try again and again.
        with pytest.raises(redis.AuthenticationError), trio.master.client(password=None, retry=None) as client:
            client.ping()
        with redis.Redis(port=trio.master.port, username="app", password="word") as client:
            assert client.ping()
        with trio.sentinels[0].client(username="asking", password="hush") as client:
            assert "other" in client.sentinel_masters()
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command("SENTINEL", "REPLICAS", "other")


@pytest.mark.tls
def test_tls() -> None:
    with ThrowAwayCA() as ca, SentinelTrio(tls=ca.server("127.0.0.1")) as trio:
        assert named(trio) == {trio.master.tls_port}
        trusted: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(ca.path)}
        for port in (*trio.sentinel_ports(tls=True), trio.master.tls_port):
            with redis.Redis("127.0.0.1", port, **trusted) as client:
                assert client.ping()


PROGRAM = """
import os, sys
from bgresults.testing import SentinelTrio
trio = SentinelTrio().start()
print(*[server.pid for server in (*trio.servers, *trio.sentinels)], trio.servers[0]._folder, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, None], ids=["killed", "left"])
def test_nothing_outlives_its_owner(end: signal.Signals | None) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    *pids, folder = owner.stdout.readline().split()
    if end is not None:
        owner.send_signal(end)
    owner.stdin.close()
    owner.wait(WAIT)
    owner.stdout.close()
    assert len(pids) == 5
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids), "their end", WAIT)
    wait_until(lambda: not os.path.exists(folder), "the folders to be removed", WAIT)
