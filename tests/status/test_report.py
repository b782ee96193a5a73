"""process_status(): is it connected, is it keeping up, who waits for what since when, what was lost."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bgresults import BackendUnavailableError, ResultWatcher, RetryPolicy
from bgresults.diagnosis import process_status
from bgresults.integrations.celery.gathering import GatheredFuture
from bgresults.outage_log import OutageLog
from bgresults.stats import Counters
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20
QUICK = RetryPolicy(initial=0.01, maximum=0.05)


def told_of(watcher: ResultWatcher, **options: Any) -> dict[str, Any]:
    """What is said of one watcher, after it has been through JSON."""
    status = json.loads(json.dumps(process_status(**options)))
    name = watcher.health().name
    found: list[dict[str, Any]] = [told for told in status["watchers"] if told["health"]["name"] == name]
    assert len(found) == 1, f"{name} among {status['watchers']}"
    return found[0]


def test_connected_and_keeping_up(watcher: ResultWatcher) -> None:
    assert watcher.wait_ready(WAIT)
    told = told_of(watcher, patience=WAIT)
    assert told["health"]["connected"]
    assert 0 <= told["pace"]["answered_in"] < WAIT
    assert told["pace"]["unread_bytes"] == 0
    assert len(told["pace"]["connections"]) == 2
    assert (told["waiting"], told["outages"]) == ([], [])


def test_who_waits_for_what_since_when(watcher: ResultWatcher, writer: ResultWriter) -> None:
    oldest, second, third = new_ids(3)

    def view() -> Any:
        return watcher.watch(oldest).result(WAIT)

    waiting = Caller(view)
    wait_until(lambda: writer.channels() == {oldest}, "the first watch")
    waiting.until_blocked()
    futures = watcher.watch_many([second, third], lifetime=60)
    wait_until(lambda: writer.channels() == {oldest, second, third}, "the others")
    told = told_of(watcher)["waiting"]
    assert [waited["task_id"] for waited in told] == [oldest, second, third], "the oldest first"
    assert told[0]["seconds"] >= told[1]["seconds"] > 0
    assert 0 < told[1]["ends_in"] <= 60
    assert len(told[0]["threads"]) == 1
    assert told[0]["threads"][0].startswith(f"{waiting.thread.name} in view(), test_report.py:")
    assert told[1]["threads"] == [], "nobody has asked for it yet"
    assert len(told_of(watcher, most_ids=2)["waiting"]) == 2
    writer.write(oldest, 1)
    assert waiting.outcome(WAIT) == 1
    del futures


def in_wait(watcher: ResultWatcher, ids: list[str]) -> object:
    return concurrent.futures.wait(watcher.watch_many(ids), WAIT)


def in_as_completed(watcher: ResultWatcher, ids: list[str]) -> object:
    return list(concurrent.futures.as_completed(watcher.watch_many(ids), WAIT))


def in_updates(watcher: ResultWatcher, ids: list[str]) -> object:
    statuses = []
    for task_id in ids:
        for state in watcher.updates(task_id, timeout=WAIT):
            statuses.append(state.status)
    return statuses


def in_a_group(watcher: ResultWatcher, ids: list[str]) -> object:
    futures = watcher.watch_many(ids)
    return GatheredFuture(futures, lambda: [future.result(0) for future in futures]).result(WAIT)


@pytest.mark.parametrize("waits", [in_wait, in_as_completed, in_updates, in_a_group])
def test_other_ways_to_wait(
    watcher: ResultWatcher, writer: ResultWriter, waits: Callable[[ResultWatcher, list[str]], object]
) -> None:
    """Of several tasks, for which one has not come to an end."""
    first, second = new_ids(2)
    waiting = Caller(lambda: waits(watcher, [first, second]))
    wait_until(lambda: first in writer.channels(), "the watch")
    writer.write(first, 1)
    wait_until(lambda: writer.channels() == {second}, "the other one alone")

    def who() -> list[str]:
        (waited,) = told_of(watcher)["waiting"]
        threads: list[str] = waited["threads"]
        return threads

    wait_until(who, "the thread to wait")
    assert who()[0].startswith(f"{waiting.thread.name} in {waits.__name__}(), test_report.py:")
    writer.write(second, 2)
    waiting.outcome(WAIT)


def test_a_callback_that_holds_everything_up_is_named(watcher: ResultWatcher, writer: ResultWriter) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow_callback(_future: object) -> None:
        entered.set()
        leave.wait(WAIT)

    task_id = new_id()
    watcher.watch(task_id).add_done_callback(slow_callback)
    wait_until(lambda: writer.channels() == {task_id}, "the subscription")
    writer.write(task_id, 1)
    assert entered.wait(WAIT)
    try:
        pace = told_of(watcher, patience=0.05)["pace"]
    finally:
        leave.set()
    assert (pace["asked"], pace["answered_in"]) == (True, None)
    assert pace["at"][-1].startswith("test_report.py:")
    assert pace["at"][-1].endswith(" slow_callback()"), "who has called it, everybody knows"


def test_what_has_arrived_and_is_not_read(watcher: ResultWatcher, writer: ResultWriter) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_future: object) -> None:
        entered.set()
        leave.wait(WAIT)

    task_id, other = new_ids(2)
    future = watcher.watch(other)
    watcher.watch(task_id).add_done_callback(slow)
    wait_until(lambda: writer.channels() == {task_id, other}, "the subscriptions")
    writer.write(task_id, 1)
    assert entered.wait(WAIT)
    try:
        writer.write(other, "x" * 5000)
        wait_until(lambda: told_of(watcher, patience=0.01)["pace"]["unread_bytes"] > 5000, "it to arrive")
    finally:
        leave.set()
    assert future.result(WAIT) == "x" * 5000


def test_asked_in_a_callback(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """It does not wait for itself."""
    told: list[dict[str, Any]] = []
    task_id = new_id()
    watcher.watch(task_id).add_done_callback(lambda _future: told.append(told_of(watcher, patience=WAIT)))
    writer.write(task_id, 1)
    wait_until(lambda: told, "the callback")
    assert told[0]["pace"]["asked"] is False


def test_an_outage_that_is_not_over(own_redis: RedisServer) -> None:
    with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        own_redis.kill()
        # Written down a moment after it is known.
        wait_until(lambda: told_of(watcher)["outages"], "the outage")
        short_lived = watcher.watch(new_id(), lifetime=0.01)
        # Counted a moment after it is done.
        wait_until(lambda: watcher.stats().expired == 1, "the end of its lifetime")
        assert short_lived.done()
        told = told_of(watcher)
        (outage,) = told["outages"]
        assert (outage["over"], outage["pending"], outage["still_pending"], outage["expired"]) == (False, 1, 1, 1)
        assert 0 < outage["seconds"] < WAIT
        assert "127.0.0.1" in outage["reason"]
        assert (told["pace"]["asked"], told["pace"]["answered_in"]) == (False, None)
        assert not future.done()


def test_results_that_waited_in_the_server_are_counted(
    redis_server: RedisServer, writer: ResultWriter, key_prefix: str
) -> None:
    with (
        FaultProxy(redis_server.port) as proxy,
        ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", key_prefix=key_prefix, retry=QUICK) as watcher,
    ):
        futures = watcher.watch_many(new_ids(3))
        assert watcher.wait_ready(WAIT)
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not watcher.health().healthy, "the outage")
        for future in futures[:2]:
            writer.write(future.task_id, "kept")
        proxy.accept()
        assert [future.result(WAIT) for future in futures[:2]] == ["kept", "kept"]
        wait_until(lambda: watcher.health().healthy, "the end of the outage")
        (outage,) = told_of(watcher)["outages"]
        assert (outage["over"], outage["pending"], outage["recovered"], outage["still_pending"]) == (True, 3, 2, 1)
        assert (outage["given_up"], outage["expired"], outage["queues_lost"]) == (0, 0, 0)


def test_what_was_found_before_the_connection_was_lost_again(
    redis_server: RedisServer, writer: ResultWriter, key_prefix: str
) -> None:
    """One outage, although the first attempt to end it gets no further than some of the results."""
    with (
        FaultProxy(redis_server.port) as proxy,
        ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", key_prefix=key_prefix, retry=QUICK) as watcher,
    ):
        # More than are asked for before the first answer.
        futures = watcher.watch_many(new_ids(2000))
        assert watcher.wait_ready(WAIT)
        wait_until(lambda: len(writer.channels()) == 2000, "the subscriptions")
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not watcher.health().healthy, "the outage")
        for future in futures:
            writer.write(future.task_id, "kept")
        cuts: list[object] = []

        def cut_once(_: object) -> None:
            if not cuts:
                cuts.append(proxy.cut())

        for future in futures:
            future.add_done_callback(cut_once)
        proxy.accept()
        assert {future.result(WAIT) for future in futures} == {"kept"}
        wait_until(lambda: watcher.health().healthy, "the end of the outage")
        (outage,) = told_of(watcher)["outages"]
        assert (outage["over"], outage["recovered"]) == (True, 2000)
        assert len(cuts) == 1


def test_what_was_given_up(own_redis: RedisServer) -> None:
    with ResultWatcher(own_redis.url(), retry=QUICK, on_disconnect="fail") as watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        own_redis.kill()
        with pytest.raises(BackendUnavailableError):
            future.result(WAIT)
        assert told_of(watcher)["outages"][-1]["given_up"] == 1


def test_only_the_last_outages_are_kept() -> None:
    counters = Counters()
    log = OutageLog(counters)
    for number in range(25):
        log.begin(f"outage {number}", pending=number)
        counters.expired += 1
        counters.recovered += 1
        assert log.end(pending=0) == 1
    outages = log.outages(0)
    assert [outage.reason for outage in outages] == [f"outage {number}" for number in range(15, 25)]
    assert {(outage.expired, outage.recovered, outage.over) for outage in outages} == {(1, 1, True)}


def test_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/serve", "--password", "sesame"])
    with ResultWatcher(f"redis://:sesame@127.0.0.1:{CLOSED_PORT}/0", retry=QUICK, name="secret") as watcher:
        future = watcher.watch(new_id())
        wait_until(lambda: watcher.health().last_error, "the refusal")
        status = process_status()
        assert (status["program"], status["format"]) == ("serve", 1)
        assert "refused" in json.dumps(status)
        assert "sesame" not in json.dumps(status)
        del future


def test_watchers_that_nobody_uses_are_left_out(redis_url: str) -> None:
    unused = ResultWatcher(redis_url, name="nobody's")
    assert "nobody's" not in json.dumps(process_status())
    unused.close()


@pytest.mark.rabbitmq
def test_replies(rabbitmq_url: str) -> None:
    """Of a broker, the answer says that all that was in the reply queue has been passed on."""
    with ResultWatcher(rabbitmq_url, name="replies") as watcher:
        assert watcher.wait_ready(WAIT)
        told = told_of(watcher, patience=WAIT)
        assert told["reply_queue"] == watcher.reply_to
        assert told["pace"]["answered_in"] is not None
        assert len(told["pace"]["connections"]) == 1
