"""The collector for a single process."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bgresults import BackendUnavailableError, ResultWatcher, RetryPolicy, WatcherClosedError, WatchExpiredError
from bgresults.integrations.prometheus import Installation, install
from bgresults.session import Session
from bgresults.testing import RedisServer
from tests.monitoring.conftest import NAME
from tests.monitoring.scrape import Scrape
from tests.support.forks import c_fork, run_in_child
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.stages import until_at_rest
from tests.support.waiting import wait_until


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(autouse=True)
def installed(registry: CollectorRegistry, watcher: ResultWatcher) -> Iterator[Installation]:
    installation = install(watcher, registry=registry)
    yield installation
    installation.undo()


def scrape(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


def ended(registry: CollectorRegistry, outcome: str, watcher: str = NAME) -> float:
    return scrape(registry).value("bgresults_ended_total", watcher=watcher, outcome=outcome)


def until_ended(registry: CollectorRegistry, outcome: str, count: int, watcher: str = NAME) -> None:
    """A future has its result a moment before its end is counted, and that a moment before it is told."""
    labels = {"watcher": watcher, "outcome": outcome}
    sample = "bgresults_wait_seconds_count"
    wait_until(lambda: scrape(registry).find(sample, **labels) == [count], "the end")
    assert ended(registry, outcome, watcher) == count


def test_nothing_is_used_yet(registry: CollectorRegistry, watcher: ResultWatcher) -> None:
    assert not scrape(registry).has("bgresults_pending")
    assert watcher.stats().state == "idle"


def test_every_outcome_and_how_long_it_took(
    registry: CollectorRegistry, watcher: ResultWatcher, writer: ResultWriter
) -> None:
    ids = new_ids(4)
    began = time.time()
    resolved, failed, cancelled, dropped = watcher.watch_many(ids)
    expired = watcher.watch(new_id(), lifetime=0.05)
    pending = watcher.watch(new_id())
    assert watcher.wait_ready(10)
    writer.write(ids[0], 1)
    writer.fail(ids[1], ValueError("no"))
    assert resolved.result(10) == 1
    with pytest.raises(ValueError, match="no"):
        failed.result(10)
    cancelled.cancel()
    with pytest.raises(WatchExpiredError):
        expired.result(10)
    del dropped
    # Counted first, then observed, and asked for no more in the end.
    wait_until(lambda: (watcher.stats().dropped, watcher.stats().subscribed) == (1, 1), "the dropped one to be gone")
    found = scrape(registry)
    assert found.value("bgresults_watched_total", watcher=NAME) == 6
    assert found.value("bgresults_pending", watcher=NAME) == 1
    assert found.value("bgresults_subscribed", watcher=NAME) == 1
    assert found.value("bgresults_connected", watcher=NAME) == 1
    assert found.value("bgresults_threads", watcher=NAME) == 1
    assert found.value("bgresults_state", watcher=NAME, state="draining") == 1
    assert found.value("bgresults_state", watcher=NAME, state="backoff") == 0
    assert 0 < found.value("bgresults_oldest_pending_seconds", watcher=NAME) <= time.time() - began
    assert began - 1 < found.value("bgresults_last_message_timestamp_seconds", watcher=NAME) < time.time() + 1
    for outcome in ("resolved", "failed", "cancelled", "dropped", "expired"):
        labels = {"watcher": NAME, "outcome": outcome}
        assert found.value("bgresults_ended_total", **labels) == 1, outcome
        assert found.value("bgresults_wait_seconds_count", **labels) == 1, outcome
        assert 0 < found.value("bgresults_wait_seconds_sum", **labels) < time.time() - began, outcome
    assert found.value("bgresults_wait_seconds_bucket", watcher=NAME, outcome="expired", le="0.025") == 0
    pending.cancel()


def test_all_metrics_are_documented(
    registry: CollectorRegistry, watcher: ResultWatcher, writer: ResultWriter, page: str
) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id)
    future.result(10)
    until_ended(registry, "resolved", 1)
    # The parser leaves out the `_total` of a counter.
    documented = {
        name.removesuffix("_total") for name in re.findall(r"^\| `(bgresults_\w+)(?:{\w+=})?` \|", page, re.M)
    }
    assert set(scrape(registry).families) == documented - {"bgresults_event"}


def test_an_outage(own_redis: RedisServer, registry: CollectorRegistry, installed: Installation) -> None:
    installed.undo()
    retry = RetryPolicy(initial=0.01, maximum=0.05)
    with ResultWatcher(own_redis.url(), name="orders", retry=retry) as watcher, install(watcher, registry=registry):
        future = watcher.watch(new_id())
        assert watcher.wait_ready(10)
        own_redis.kill()
        wait_until(lambda: scrape(registry).value("bgresults_connected", watcher="orders") == 0, "the outage")
        found = scrape(registry)
        assert found.value("bgresults_threads", watcher="orders") == 1
        assert found.value("bgresults_reconnects_total", watcher="orders") == 0
        # Stored, and published while nobody hears it.
        own_redis.start()
        writer = ResultWriter(own_redis)
        writer.write(future.task_id, "back")
        assert future.result(10) == "back"
        writer.close()
        wait_until(lambda: scrape(registry).value("bgresults_reconnects_total", watcher="orders") == 1, "the recovery")
        assert scrape(registry).value("bgresults_connected", watcher="orders") == 1


def test_futures_that_are_refused(own_redis: RedisServer, registry: CollectorRegistry) -> None:
    own_redis.kill()
    other = CollectorRegistry()
    with (
        ResultWatcher(own_redis.url(), name="orders", on_disconnect="fail") as watcher,
        install(watcher, registry=other),
    ):
        first = watcher.watch(new_id())
        assert isinstance(first.exception(10), BackendUnavailableError)
        second = watcher.watch(new_id())
        assert second.done()
        until_ended(other, "failed", 1, "orders")
        until_ended(other, "refused", 1, "orders")


def test_counters_outlive_the_watcher_and_are_added_up(
    redis_server: RedisServer, key_prefix: str, registry: CollectorRegistry, writer: ResultWriter
) -> None:
    all_of_them = CollectorRegistry()
    name = f"reports of {key_prefix}"
    with install(registry=all_of_them):
        for number in range(3):
            with ResultWatcher(redis_server.url(), key_prefix=key_prefix, name=name) as another:
                future = another.watch(new_id())
                writer.write(future.task_id, number)
                assert future.result(10) == number
            assert ended(all_of_them, "resolved", name) == number + 1
            with pytest.raises(WatcherClosedError):
                another.watch(new_id())
        found = scrape(all_of_them)
        assert found.value("bgresults_ended_total", watcher=name, outcome="resolved") == 3
        assert found.value("bgresults_wait_seconds_count", watcher=name, outcome="resolved") == 3
        assert found.value("bgresults_threads", watcher=name) == 0
        # Of one watcher alone.
        assert not scrape(registry).has("bgresults_ended_total")
    assert not scrape(all_of_them).has("bgresults_ended_total")


def test_watchers_that_come_and_go_are_let_go_of(redis_server: RedisServer, key_prefix: str) -> None:
    """Also if nobody ever asks for the metrics."""
    name, registry = f"reports of {key_prefix}", CollectorRegistry()

    def sessions() -> int:
        gc.collect()
        # Not isinstance(): that asks lazy objects of other libraries, such as the settings of Django, what they are.
        return sum(type(item) is Session for item in gc.get_objects())

    before = sessions()
    with install(registry=registry):
        for _ in range(60):
            with ResultWatcher(redis_server.url(), key_prefix=key_prefix, name=name) as watcher:
                watcher.watch(new_id()).add_done_callback(id)
        assert sessions() < before + 40
        assert scrape(registry).value("bgresults_ended_total", watcher=name, outcome="failed") == 60


@pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["os.fork", "C-level fork"])
def test_a_forked_child_starts_at_zero(
    registry: CollectorRegistry, watcher: ResultWatcher, writer: ResultWriter, fork: Callable[[], int]
) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id)
    future.result(10)
    # A fork that the interpreter does not hear of must not meet a thread of it that is awake.
    until_at_rest(watcher)

    def child() -> None:
        assert not scrape(registry).has("bgresults_watched_total")
        ours = watcher.watch(new_id())
        writer.write(ours.task_id)
        ours.result(10)
        until_ended(registry, "resolved", 1)
        assert scrape(registry).value("bgresults_wait_seconds_count", watcher=NAME, outcome="resolved") == 1

    assert run_in_child(child, fork=fork) == 0
    until_ended(registry, "resolved", 1)


def test_names_are_taken_once(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="bgresults_pending"):
        install(registry=registry)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"watcher": "redis://"}, TypeError, "watcher must be a ResultWatcher or None, not str"),
        ({"interval": 0}, ValueError, "interval must be a number of seconds above 0"),
        ({"buckets": []}, ValueError, "buckets must be seconds in ascending order"),
        ({"buckets": [1, 1]}, ValueError, "buckets must be seconds in ascending order"),
        ({"buckets": [1, float("nan")]}, ValueError, "buckets must be seconds in ascending order"),
        ({"buckets": ["1"]}, TypeError, "buckets must be seconds in ascending order"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        install(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("integration", "package", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("opentelemetry", "opentelemetry", "otel"),
    ],
)
def test_without_the_package(integration: str, package: str, extra: str) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "try:\n"
        f"    import bgresults.integrations.{integration}\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert f"pip install 'bgresults[{extra}]'" in done.stdout
