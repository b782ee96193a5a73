"""close(), dropping a watcher, and the end of the interpreter."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

from bgresults import ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.testing.servers import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.gates import drain_thread_held
from tests.support.results import ResultWriter, new_ids
from tests.support.sockets import connections
from tests.support.threads import in_threads

WAIT = 20


def test_pending_futures_end(redis_server: RedisServer, key_prefix: str, writer: ResultWriter) -> None:
    base = connections(redis_server.port)
    watcher = ResultWatcher(redis_server.url(), key_prefix=key_prefix)
    futures = watcher.watch_many(new_ids(100))
    called = threading.Event()
    futures[0].add_done_callback(lambda _: called.set())
    assert watcher.wait_ready(WAIT)
    watcher.close()
    errors = [future.exception(0) for future in futures]
    assert {type(error) for error in errors} == {WatcherClosedError}
    assert len(set(map(id, errors))) == 100, "each future has its own"
    assert called.is_set()
    stats = watcher.stats()
    assert (stats.pending, stats.failed, stats.thread_alive, stats.state) == (0, 100, False, "closed")
    assert connections(redis_server.port) == base
    wait_until(lambda: len(writer.channels()) == 0, "no channel")


def test_after_it(watcher: ResultWatcher) -> None:
    future = watcher.watch(new_ids(1)[0])
    watcher.close()
    watcher.close()
    assert watcher.closed
    assert isinstance(future.exception(0), WatcherClosedError)
    with pytest.raises(WatcherClosedError):
        watcher.watch(new_ids(1)[0])
    with pytest.raises(WatcherClosedError):
        watcher.watch_many(new_ids(2))
    with pytest.raises(WatcherClosedError):
        watcher.wait_ready(1)
    assert watcher.pending == 0


def test_the_counters_add_up(watcher: ResultWatcher) -> None:
    """What callers did in the last moment, when the thread took no command any more, is counted as well."""
    settled = watcher.watch_many(new_ids(3))
    wait_until(lambda: watcher.stats().watched == 3, "the first futures to be counted")
    before = watcher.stats()
    with drain_thread_held(watcher):
        unseen = watcher.watch_many(new_ids(6))
        for future in (settled.pop(), unseen.pop(), unseen.pop()):
            assert future.cancel()
        del future
        settled.pop()
        unseen.pop()
        watcher.close(timeout=0.01)
    wait_until(lambda: not watcher.stats().thread_alive, "the thread to end")
    stats = watcher.stats()
    # That which holds the thread is one more, or a few; each of them expires.
    assert stats.watched == 9 + stats.expired - before.expired
    assert (stats.cancelled, stats.dropped, stats.failed, stats.pending) == (3, 2, 4, 0)
    assert stats.watched == stats.resolved + stats.failed + stats.cancelled + stats.dropped + stats.expired
    assert stats.subscribed == 0, "nobody is asked for anything any more"


def test_closing_before_the_first_watch() -> None:
    watcher = ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0")
    watcher.close()
    assert watcher.closed
    with pytest.raises(WatcherClosedError):
        watcher.watch("id")


def test_closing_while_it_cannot_connect() -> None:
    """Back-off is interruptible, also when the next attempt is far away."""
    # At random, but less than ten seconds once in a hundred times only.
    far_away = RetryPolicy(initial=1000, maximum=1000)
    watcher = ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0", retry=far_away)
    future = watcher.watch("id")
    wait_until(lambda: watcher.stats().state == "backoff", "the back-off")
    started = time.monotonic()
    watcher.close(timeout=WAIT)
    assert time.monotonic() - started < 10
    assert isinstance(future.exception(0), WatcherClosedError)


def test_closing_from_many_threads_while_others_watch(redis_server: RedisServer, key_prefix: str) -> None:
    """Whoever watches at that very moment gets a future that ends, or an error; nobody hangs."""
    for _ in range(20):
        watcher = ResultWatcher(redis_server.url(), key_prefix=key_prefix)
        watcher.watch(new_ids(1)[0])

        def act(number: int, watcher: ResultWatcher = watcher) -> object:
            if number % 4 == 0:
                watcher.close()
                return None
            futures = []
            try:
                for task_id in new_ids(50):
                    futures.append(watcher.watch(task_id))
            except WatcherClosedError:
                pass
            return [type(future.exception(WAIT)) for future in futures]

        outcomes = in_threads(8, act)
        for outcome in outcomes:
            assert outcome is None or set(outcome) <= {WatcherClosedError}
        assert watcher.pending == 0


def test_a_dropped_watcher_ends_its_thread(redis_server: RedisServer, key_prefix: str) -> None:
    watcher = ResultWatcher(redis_server.url(), key_prefix=key_prefix, name="dropped")
    assert watcher.wait_ready(WAIT)
    reference = weakref.ref(watcher)
    del watcher
    gc.collect()
    assert reference() is None
    wait_until(lambda: "bgresults-dropped" not in {thread.name for thread in threading.enumerate()}, "its end")


def test_a_pending_future_keeps_its_watcher(redis_server: RedisServer, key_prefix: str, writer: ResultWriter) -> None:
    task_id = new_ids(1)[0]
    future = ResultWatcher(redis_server.url(), key_prefix=key_prefix).watch(task_id)
    gc.collect()
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    writer.write(task_id, "kept")
    assert future.result(WAIT) == "kept"
    wait_until(lambda: len(writer.channels()) == 0, "no channel")


@pytest.mark.parametrize("reachable", [True, False], ids=["server up", "server down"])
def test_the_interpreter_ends_quietly(redis_server: RedisServer, reachable: bool) -> None:
    """1000 futures pending, callbacks among them: no delay, no line on stderr."""
    url = redis_server.url() if reachable else f"redis://127.0.0.1:{CLOSED_PORT}/0"
    program = textwrap.dedent(
        f"""
        import time, uuid
        from bgresults import ResultWatcher
        watcher = ResultWatcher({url!r})
        futures = watcher.watch_many([str(uuid.uuid4()) for _ in range(1000)])
        futures[0].add_done_callback(print)
        stream = watcher.updates("id")
        if {reachable}:
            assert watcher.wait_ready(10)
        else:
            while watcher.stats().state != "backoff":
                time.sleep(0.01)
        print(time.monotonic())
        """
    )

    def taken() -> float:
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        seconds = time.monotonic() - float(ended.stdout.split()[0])
        assert ended.stderr == ""
        assert ended.returncode == 0
        assert len(ended.stdout.split()) == 1, "no callback ran for a result that did not come"
        return seconds

    # Not each time: the machine may have other things to do for so long.
    assert any(taken() < 3 for _ in range(3))
