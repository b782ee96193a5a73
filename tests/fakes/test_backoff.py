"""Switching the back-off off: ``bgresults.testing.no_backoff()`` and ``set_backoff_active()``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bgresults import BackendUnavailableError, RetryPolicy
from bgresults.consumers.redis import ResultConsumer
from bgresults.testing import FaultProxy, RedisServer, is_backoff_active, no_backoff, set_backoff_active
from bgresults.watcher import ResultWatcher
from tests.support.forks import run_in_child
from tests.support.waiting import wait_until

# Nobody waits for that long by chance: a wait is drawn evenly from what is allowed.
AGES = RetryPolicy(initial=1e6, maximum=1e6)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    yield
    set_backoff_active(True)


def watcher_in_back_off(proxy: FaultProxy, **settings: object) -> ResultWatcher:
    """One whose server was away when it looked, and is back."""
    watcher = ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", retry=AGES, **settings)  # type: ignore[arg-type]
    proxy.refuse()
    watcher.wait_ready(0)
    wait_until(lambda: watcher.stats().state == "backoff", "the outage")
    proxy.accept()
    return watcher


def test_one_that_waits_already_tries_at_once(proxy: FaultProxy) -> None:
    with watcher_in_back_off(proxy) as watcher:
        with no_backoff():
            assert not is_backoff_active()
            assert watcher.wait_ready(10)
        assert is_backoff_active()


def test_for_the_whole_run(proxy: FaultProxy) -> None:
    with watcher_in_back_off(proxy) as watcher:
        set_backoff_active(False)
        assert not is_backoff_active()
        assert watcher.wait_ready(10)


def test_it_ends_with_its_context(proxy: FaultProxy) -> None:
    with no_backoff(), no_backoff():
        pass
    with watcher_in_back_off(proxy) as watcher:
        assert not watcher.wait_ready(0.3)


def knock(proxy: FaultProxy, wait: Callable[[], object]) -> None:
    """A watcher whose server lets nobody in, for as long as ``wait`` takes."""
    with ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", retry=AGES) as watcher:
        assert not watcher.wait_ready(0)
        wait()


def wait_for_attempts(proxy: FaultProxy) -> None:
    wait_until(lambda: proxy.connections_made > 6, "the attempts to connect")


def test_it_does_not_spin(proxy: FaultProxy) -> None:
    proxy.garbage(b"-ERR nobody is let in\r\n", greet=True)
    began = time.monotonic()
    with no_backoff():
        knock(proxy, lambda: wait_for_attempts(proxy))
    # At most two connections for each attempt, and a hundred attempts a second.
    assert proxy.connections_made <= 2 * (100 * (time.monotonic() - began) + 1)


def test_giving_up_is_not_what_it_switches_off(proxy: FaultProxy) -> None:
    policy = RetryPolicy(initial=1e6, maximum=1e6, give_up_after=0.2)
    with no_backoff(), ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", retry=policy) as watcher:
        proxy.refuse()
        with pytest.raises(BackendUnavailableError, match=r"gave up after 0\.2 s"):
            watcher.watch("a").result(10)
        # A backend that was given up is asked again as soon as somebody wants to know.
        proxy.accept()
        wait_until(lambda: _is_mended(watcher), "the next attempt")


def _is_mended(watcher: ResultWatcher) -> bool:
    try:
        return watcher.wait_ready(1)
    except BackendUnavailableError:
        return False


def test_a_consumer_that_is_used_alone(proxy: FaultProxy) -> None:
    consumer = ResultConsumer(f"redis://127.0.0.1:{proxy.port}/0", retry=AGES)
    consumer.start(None)
    try:
        proxy.refuse()
        proxy.cut()
        with no_backoff():
            assert consumer.drain_events(0.1) is None
            proxy.accept()
            wait_until(lambda: consumer.drain_events(0.2) is not None, "the connection")
    finally:
        consumer.stop()


def test_a_child_that_is_forked_inside_of_it_has_none_either(proxy: FaultProxy) -> None:
    proxy.garbage(b"-ERR nobody is let in\r\n", greet=True)
    enough, tell = os.pipe()

    def end_the_child() -> None:
        try:
            wait_for_attempts(proxy)
        finally:
            os.close(tell)

    def child() -> None:
        os.close(tell)
        knock(proxy, lambda: os.read(enough, 1))

    telling = threading.Thread(target=end_the_child)
    with no_backoff():
        telling.start()
        assert run_in_child(child) == 0
    telling.join()
    os.close(enough)
    assert proxy.connections_made > 6


def test_contexts_of_several_threads_overlap() -> None:
    first, second = no_backoff(), no_backoff()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not is_backoff_active()
    second.__exit__(None, None, None)
    assert is_backoff_active()


def test_wrong_use() -> None:
    with pytest.raises(TypeError, match="active must be a bool, not str"):
        set_backoff_active("off")  # type: ignore[arg-type]
    assert is_backoff_active()
