"""A fork while the drain thread shakes hands, and processes of billiard, which Celery's workers are made of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import billiard
import pytest

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import FaultProxy, RedisServer, ThrowAwayCA
from tests.interleavings.actions import unheard_fork
from tests.support import wait_until
from tests.support.calls import until_in
from tests.support.forks import c_fork_with_child_hook, run_in_child
from tests.support.results import ResultWriter, new_id
from tests.support.sockets import connections

WAIT = 20
FORKS = pytest.mark.parametrize(
    "fork", [os.fork, *([unheard_fork, c_fork_with_child_hook] if sys.version_info < (3, 13) else [])]
)
# The first bytes of every TLS connection: a handshake record of version 1.0, whatever comes of it.
CLIENT_HELLO = b"\x16\x03\x01"


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


@pytest.mark.tls
@FORKS
def test_in_the_middle_of_a_tls_handshake(ca: ThrowAwayCA, fork: Callable[[], int]) -> None:
    """The server's part of it is held back. The child closes its copy of the socket, and says nothing on it."""
    options = RedisOptions(ssl_ca_certs=str(ca.path))
    with RedisServer(tls=ca.server("127.0.0.1")) as server, FaultProxy(server.tls_port, record=True) as proxy:
        writer = ResultWriter(server)
        url = f"rediss://127.0.0.1:{proxy.port}/0"
        with ResultWatcher(url, redis=options, connect_timeout=WAIT) as watcher:
            proxy.hold(CLIENT_HELLO)
            future = watcher.watch(new_id())
            wait_until(proxy.holding.is_set, "the handshake")
            thread = watcher._session.thread
            assert thread is not None
            until_in(thread, "do_handshake")
            hello = proxy.recorded("to_server")
            wait_until(lambda: connections(proxy.port) == 1, "one connection")

            def child() -> None:
                assert watcher.pending == 0
                assert connections(proxy.port) == 0, "the inherited socket was closed"
                watcher.close()

            assert run_in_child(child, fork=fork) == 0
            assert proxy.recorded("to_server") == hello, "the child said nothing"
            proxy.release()
            assert watcher.wait_ready(WAIT)
            writer.write(future.task_id, "parent's")
            assert future.result(WAIT) == "parent's"
            assert proxy.connections_made == 2
            assert watcher.stats().reconnects == 0
        writer.close()


@pytest.mark.tls
@FORKS
def test_the_child_shakes_hands_for_itself(ca: ThrowAwayCA, fork: Callable[[], int]) -> None:
    options = RedisOptions(ssl_ca_certs=str(ca.path))
    with RedisServer(tls=ca.server("127.0.0.1")) as server:
        writer = ResultWriter(server)
        stored, task_id = new_id(), new_id()
        writer.store(stored, "stored")
        with ResultWatcher(server.tls_url(host="127.0.0.1"), redis=options) as watcher:
            future = watcher.watch(task_id)
            assert watcher.wait_ready(WAIT)

            def child() -> None:
                assert watcher.watch(stored).result(WAIT) == "stored"
                watcher.close()

            assert run_in_child(child, fork=fork) == 0
            writer.write(task_id, "parent's")
            assert future.result(WAIT) == "parent's"
            assert watcher.stats().reconnects == 0
        writer.close()


@pytest.mark.allow_leaks("descriptors")  # billiard keeps what it talks to its helper processes with
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_billiard(redis_server: RedisServer, key_prefix: str, method: str) -> None:
    writer = ResultWriter(redis_server, key_prefix)
    stored, task_id = new_id(), new_id()
    writer.store(stored, "stored")
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as watcher:
        future = watcher.watch(task_id)
        assert watcher.wait_ready(WAIT)
        context: Any = billiard.get_context(method)
        inherited = watcher if method == "fork" else None
        process = context.Process(target=find, args=(inherited, redis_server.url(), key_prefix, stored))
        process.start()
        process.join(WAIT)
        assert process.exitcode == 0
        writer.write(task_id, "parent's")
        assert future.result(WAIT) == "parent's"
        assert watcher.stats().reconnects == 0
    writer.close()


def find(inherited: ResultWatcher | None, url: str, key_prefix: str, task_id: str) -> None:
    """In a process of billiard's: with the parent's watcher where it came along, else with a new one."""
    with inherited or ResultWatcher(url, key_prefix=key_prefix) as watcher:
        assert watcher.watch(task_id).result(WAIT) == "stored"
