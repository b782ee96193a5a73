"""fork(): the child starts anew, the parent never notices."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import pytest
import redis

from bgresults import ForkedError, ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.forks import c_fork, run_in_child
from tests.support.results import ResultWriter, new_ids, state_body
from tests.support.sockets import connections
from tests.support.stages import until_at_rest

WAIT = 20


FORKS = pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["os.fork", "C-level fork"])


def in_child(function: Callable[[], object], *, fork: Callable[[], int] = os.fork) -> None:
    """Run ``function`` in a forked child, which has to end well."""
    assert run_in_child(function, fork=fork) == 0, "the child failed; its traceback is on stderr"


def resolves(watcher: ResultWatcher, server: RedisServer, count: int = 10) -> bool:
    """Whether a watcher gets results, in this process."""
    writer = ResultWriter(server)
    ids = new_ids(count)
    futures = [watcher.watch(task_id) for task_id in ids]
    for number, task_id in enumerate(ids):
        writer.write(task_id, number)
    results = [future.result(WAIT) for future in futures]
    writer.close()
    return results == list(range(count))


@FORKS
def test_watching_in_the_child_just_works(
    watcher: ResultWatcher, own_redis: RedisServer, fork: Callable[[], int]
) -> None:
    parents = watcher.watch_many(new_ids(20))
    assert resolves(watcher, own_redis)

    def child() -> None:
        assert watcher.pending == 0
        assert watcher.stats().watched == 0
        assert resolves(watcher, own_redis)
        watcher.close()

    # An answer must not wake the drain thread in the middle of a C-level fork.
    until_at_rest(watcher)
    in_child(child, fork=fork)
    assert resolves(watcher, own_redis)
    assert watcher.pending == len(parents)
    assert watcher.stats().reconnects == 0


@FORKS
def test_inherited_futures_fail_when_they_are_touched(
    watcher: ResultWatcher, writer: ResultWriter, fork: Callable[[], int]
) -> None:
    finished, touched, waited, called, cancelled, held = watcher.watch_many(new_ids(6))
    writer.write(finished.task_id, "done before")
    assert finished.result(WAIT) == "done before"
    calls: list[Future[Any]] = []
    called.add_done_callback(calls.append)
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        # What a thread that does not come along may be doing at the moment of the fork.
        with held._condition:
            inside.set()
            release.wait(WAIT)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(WAIT)

    def child() -> None:
        assert finished.result(0) == "done before"
        assert touched.done()
        assert isinstance(touched.exception(0), ForkedError)
        assert wait([waited, finished], timeout=5).not_done == set()
        with pytest.raises(ForkedError):
            waited.result()
        late: list[Future[Any]] = []
        called.add_done_callback(late.append)
        assert late == [called], "a callback of the child runs"
        assert calls == [], "a callback of the parent does not"
        assert not cancelled.cancel()
        assert isinstance(held.exception(0), ForkedError)

    # An answer must not wake the drain thread in the middle of a C-level fork.
    until_at_rest(watcher)
    in_child(child, fork=fork)
    release.set()
    holder.join(WAIT)
    for future in (touched, waited, called, cancelled, held):
        writer.write(future.task_id, "parent's")
        assert future.result(WAIT) == "parent's"
    wait_until(lambda: calls == [called], "the parent's callback")


@FORKS
def test_dropping_and_collecting_in_the_child_reaches_nobody(
    watcher: ResultWatcher, writer: ResultWriter, fork: Callable[[], int]
) -> None:
    """Weakref callbacks and destructors, redis-py's too, run in the child: none may touch the parent's sockets."""
    futures = watcher.watch_many(new_ids(50))
    streams = [watcher.updates(task_id) for task_id in new_ids(5)]
    wait_until(lambda: len(writer.channels()) == 55, "the subscriptions")
    # They have been read as well: what comes from now on is not the parent's.
    until_at_rest(watcher)
    commands = commands_seen(writer)

    def child() -> None:
        futures.clear()
        streams.clear()
        gc.collect()
        watcher.close()
        gc.collect()

    in_child(child, fork=fork)
    assert len(writer.channels()) == 55
    assert commands_seen(writer) == commands, "the child said nothing to the server"
    for future in futures:
        writer.write(future.task_id, 1)
    assert {future.result(WAIT) for future in futures} == {1}
    assert watcher.stats().reconnects == 0


def commands_seen(writer: ResultWriter) -> dict[str, int]:
    """How often the server has been told to unsubscribe, read or quit, or seen a client come."""
    stats = writer.client.info("commandstats")
    found = {name: int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("unsubscribe", "mget", "quit")}
    return found | {"connections": int(writer.client.info("stats")["total_connections_received"])}


@pytest.mark.allow_leaks("threads")
def test_four_children_under_load(watcher: ResultWatcher, own_redis: RedisServer) -> None:
    """Ten waits in each of four children while the parent waits as well; nobody loses one."""
    # redis-py imports a few modules when its first client is made. A fork in the middle of an import would leave the
    # child with a locked module, through no fault of the library under test.
    assert resolves(watcher, own_redis)
    stop = threading.Event()
    outcomes: list[bool] = []

    def load() -> None:
        while not stop.is_set():
            outcomes.append(resolves(watcher, own_redis, 5))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            children = [
                threading.Thread(target=in_child, args=(lambda: child_waits(watcher, own_redis),)) for _ in range(4)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join(WAIT)
                assert not child.is_alive()
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT)
    assert outcomes
    assert all(outcomes)
    assert watcher.stats().reconnects == 0


def child_waits(watcher: ResultWatcher, server: RedisServer) -> None:
    assert resolves(watcher, server, 10)


def test_a_child_of_a_child(watcher: ResultWatcher, own_redis: RedisServer) -> None:
    inherited = watcher.watch("inherited")
    assert resolves(watcher, own_redis)

    def grandchild() -> None:
        assert isinstance(inherited.exception(0), ForkedError)
        assert resolves(watcher, own_redis)

    def child() -> None:
        assert resolves(watcher, own_redis)
        in_child(grandchild)
        assert resolves(watcher, own_redis)

    in_child(child)
    assert resolves(watcher, own_redis)


def test_forking_while_it_connects(own_redis: RedisServer) -> None:
    """The child must not keep a half-open connection: it knows of the socket before it is connected."""
    own_redis.pause()
    try:
        with ResultWatcher(own_redis.url(), connect_timeout=5) as watcher:
            watcher.watch("id")
            wait_until(lambda: server_sockets(own_redis) == 1, "the attempt to connect")

            def child() -> None:
                assert server_sockets(own_redis) == 0, "the inherited socket was closed"

            in_child(child)
            own_redis.resume()
            assert watcher.wait_ready(WAIT)
    finally:
        own_redis.resume()


def server_sockets(server: RedisServer) -> int:
    return connections(server.port)


def test_a_closed_watcher_stays_closed(watcher: ResultWatcher) -> None:
    watcher.close()

    def child() -> None:
        assert watcher.closed

    in_child(child)


@pytest.mark.allow_leaks("descriptors")  # multiprocessing keeps pipes to its helper processes
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(watcher: ResultWatcher, own_redis: RedisServer, method: str) -> None:
    assert resolves(watcher, own_redis)
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=make_and_resolve, args=(own_redis.url(),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WAIT)
    assert [process.exitcode for process in processes] == [0, 0]
    for process in processes:
        process.close()
    assert resolves(watcher, own_redis)


def make_and_resolve(url: str) -> None:
    """In a process of multiprocessing's: a watcher of its own."""
    task_id = new_ids(1)[0]
    with redis.Redis.from_url(url) as client, ResultWatcher(url) as watcher:
        client.set(f"celery-task-meta-{task_id}", state_body(task_id, result=1), ex=60)
        assert watcher.watch(task_id).result(WAIT) == 1


def test_the_drain_thread_imports_nothing(own_redis: RedisServer) -> None:
    """Import locks do not survive a fork: what the thread needs is imported before it starts."""
    program = textwrap.dedent(
        f"""
        import json, sys, time
        import redis
        from bgresults import ResultWatcher
        client = redis.Redis(port={own_redis.port})
        client.ping()
        watcher = ResultWatcher("redis://localhost:{own_redis.port}/0")
        before = set(sys.modules)
        future = watcher.watch("id")
        assert watcher.wait_ready(10)
        envelope = {{"exc_type": "A", "exc_message": [], "exc_module": "b"}}
        body = {{"status": "FAILURE", "task_id": "id", "result": envelope}}
        client.set("celery-task-meta-id", json.dumps(body))
        client.publish("celery-task-meta-id", json.dumps(body))
        future.exception(10)
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        while not watcher.stats().reconnects:
            time.sleep(0.01)
        refused = ResultWatcher("redis://localhost:1/0")
        refused.watch("id")
        while refused.stats().state != "backoff":
            time.sleep(0.01)
        print(sorted(set(sys.modules) - before))
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert ended.stdout.strip() == "[]"
