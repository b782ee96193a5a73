"""Fields of log records: what a log in JSON can be searched for."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest

import bgresults
from bgresults import ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name.startswith("bgresults_")}


def events(caplog: pytest.LogCaptureFixture) -> dict[str, dict[str, Any]]:
    """Event → the fields of the one record of it."""
    found = [fields(record) for record in caplog.records]
    by_event = {one.pop("bgresults_event"): one for one in found if one}
    assert len(by_event) == sum(map(bool, found)), "two records of one event"
    return by_event


def test_an_outage(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bgresults")
    retry = RetryPolicy(initial=0.01, maximum=0.05)
    with ResultWatcher(own_redis.url(), name="orders", retry=retry) as watcher:
        future, other = watcher.watch(new_id()), watcher.watch(new_id())
        assert watcher.wait_ready(10)
        own_redis.kill()
        wait_until(lambda: not watcher.connected, "the outage")
        own_redis.start()
        writer = ResultWriter(own_redis)
        writer.write(future.task_id, 1)
        assert future.result(10) == 1
        wait_until(lambda: "recovery" in events(caplog), "the recovery")
        writer.close()
        address = watcher.health().address
    found = events(caplog)
    assert set(found) == {"outage", "recovery"}
    outage, recovery = found["outage"], found["recovery"]
    assert outage.pop("bgresults_reason")
    assert outage == {"bgresults_watcher": "orders", "bgresults_address": address, "bgresults_pending": 2}
    assert 0 < recovery.pop("bgresults_seconds") < 20
    recovered, pending = recovery.pop("bgresults_recovered"), recovery.pop("bgresults_pending")
    assert (recovered, pending) in ((1, 1), (0, 2), (0, 1)), "written before the connection, or after it"
    assert recovery == {"bgresults_watcher": "orders", "bgresults_address": address}
    assert isinstance(other.exception(0), WatcherClosedError)


def test_callbacks(watcher: ResultWatcher, writer: ResultWriter, caplog: pytest.LogCaptureFixture) -> None:
    future = watcher.watch(new_id())

    def fail(_future: object) -> None:
        raise ValueError("no")

    def dawdle(_future: object) -> None:
        time.sleep(0.15)

    future.add_done_callback(fail)
    future.add_done_callback(dawdle)
    writer.write(future.task_id)
    wait_until(lambda: {"callback_error", "slow_callback"} <= set(events(caplog)), "both records")
    found = events(caplog)
    assert found["callback_error"] == {"bgresults_watcher": "reports", "bgresults_task_id": future.task_id}
    slow = found["slow_callback"]
    assert slow["bgresults_seconds"] >= 0.1
    assert slow["bgresults_callback"].endswith("dawdle")


def test_all_events_are_documented(page: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in Path(bgresults.__file__).parent.rglob("*.py")]
    sources = [text for text in texts if "log_safely(" in text]
    written = {event for source in sources for event in re.findall(r'event(?:=|": )"(\w+)"', source)}
    documented = set(re.findall(r"^\| `(\w+)` \|", page.partition("## Log records")[2], re.MULTILINE))
    assert written == documented - {"bgresults_event"}
