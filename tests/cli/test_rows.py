"""What the lines of bgresults status say of figures that no test can bring about in a second."""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import Any

import pytest

from bgresults import WatcherStats
from bgresults.cli.status_rows import told
from bgresults.cli.terminal import Row
from bgresults.cli.text import clock, counted, duration
from bgresults.diagnosis import Answer

NOW = time.time()
HEALTHY: dict[str, Any] = {
    "health": {
        "healthy": True,
        "name": "web",
        "address": "redis://a/0",
        "state": "draining",
        "connected": True,
        "since": NOW - 7300,
        "pending": 0,
        "last_message": None,
        "last_error": None,
    },
    "stats": dataclasses.asdict(WatcherStats(connected=True, state="draining")),
    "pace": {"asked": True, "answered_in": 0.001, "unread_bytes": 0, "connections": ["127.0.0.1:5"], "at": None},
    "waiting": [],
    "outages": [],
    "reply_queue": None,
}
SERVER: dict[str, Any] = {
    "server": "Redis 7.4.0",
    "address": "redis://a/0",
    "up_seconds": 90_000,
    "persistence": "aof",
    "evicted_keys": 0,
    "cut_off_readers": 0,
    "watched": 0,
    "task_ids": [],
    "subscribers": [],
    "refused": [],
}
OUTAGE: dict[str, Any] = {
    "began": NOW - 600,
    "seconds": 60.0,
    "over": True,
    "reason": "the server closed the connection",
    "pending": 3,
    "still_pending": 0,
    "recovered": 1,
    "given_up": 0,
    "expired": 0,
    "queues_lost": 0,
}


def changed(original: dict[str, Any], **changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with other values, one level down."""
    made = copy.deepcopy(original)
    for name, values in changes.items():
        made[name] |= values
    return made


def rows_of(*watchers: dict[str, Any], server: dict[str, Any] | None = None) -> list[Row]:
    status = {"format": 1, "program": "serve", "at": NOW, "watchers": list(watchers)}
    blocks = told([Answer("web-1", status)], server, None, most=5)
    return [row for block in blocks for row in block.rows]


def row(title: str, rows: list[Row]) -> Row:
    (found,) = [row for row in rows if row.title == title]
    return found


def test_connected() -> None:
    assert row("connected", rows_of(HEALTHY)).text.endswith("(2 h 1 min)")
    catching_up = rows_of(changed(HEALTHY, health={"healthy": False, "state": "syncing"}))
    assert row("connected", catching_up).level == "warning"
    assert "catching up" in row("connected", catching_up).text
    first = rows_of(changed(HEALTHY, health={"connected": False, "state": "connecting"}))
    assert (row("connected", first).level, row("connected", first).text[:7]) == ("note", "not yet")


@pytest.mark.parametrize(
    ("pace", "level", "words"),
    [
        ({"answered_in": 0.7}, "warning", "barely: its thread answered in 700.0 ms"),
        ({"unread_bytes": 3 * 1024 * 1024}, "warning", "3.00 MiB unread"),
        ({"unread_bytes": None}, "ok", "its thread answered in 1.0 ms; no message yet"),
        ({"answered_in": None, "at": ["a.py:1 b()", "a.py:9 c()"]}, "error", "does not answer"),
    ],
)
def test_keeping_up(pace: dict[str, Any], level: str, words: str) -> None:
    found = row("keeping up", rows_of(changed(HEALTHY, pace=pace)))
    assert found.level == level
    assert words in found.text
    assert found.more == (("it is in a.py:1 b()", "from a.py:9 c()") if level == "error" else ())


def test_several_watchers_have_names_and_none_is_said() -> None:
    other = changed(HEALTHY, health={"name": "other"})
    assert [row.text for row in rows_of(HEALTHY, other) if row.title == "watcher"] == ["web", "other"]
    assert [row.text for row in rows_of()] == ["no watcher is in use"]


@pytest.mark.parametrize(
    ("cost", "level", "words"),
    [
        ({}, "ok", "3 futures waited then, 1 result recovered, 0 given up, 0 expired, 0 still waiting then"),
        ({"given_up": 2}, "warning", "2 given up"),
        ({"expired": 1}, "warning", "1 expired"),
        ({"queues_lost": 1}, "warning", "1 reply queue lost"),
    ],
)
def test_what_an_outage_cost(cost: dict[str, Any], level: str, words: str) -> None:
    found = row("last outage", rows_of({**HEALTHY, "outages": [{**OUTAGE, **cost}]}))
    assert found.level == level
    assert words in found.more[1]
    assert ", 1 min 0 s; 0 reconnects in all" in found.text


def test_what_was_counted_besides() -> None:
    found = row("since its start", rows_of(changed(HEALTHY, stats={"undecodable": 2, "callback_errors": 1})))
    assert (found.level, found.text) == ("warning", "messages that could not be read: 2, exceptions of callbacks: 1")


@pytest.mark.parametrize(
    ("started_ago", "address", "restarted"),
    [(590, "redis://a/0", True), (90_000, "redis://a/0", False), (10, "redis://a/0", False), (590, "redis://b", False)],
)
def test_a_server_that_was_started_in_the_outage(started_ago: int, address: str, restarted: bool) -> None:
    server = {**SERVER, "up_seconds": started_ago, "address": address}
    rows = rows_of({**HEALTHY, "outages": [OUTAGE]}, server=server)
    assert ("restarted" in {row.title for row in rows}) == restarted


def test_what_a_server_has_lost() -> None:
    rows = rows_of(HEALTHY, server={**SERVER, "evicted_keys": 5, "cut_off_readers": 1})
    assert row("evicted", rows).text.endswith("results perhaps among them: 5")
    assert row("cut off", rows).text.endswith("and were closed: 1")
    assert row("server", rows).text == "Redis 7.4.0, up for 1 d 1 h"


def test_a_reader_that_does_not_keep_up() -> None:
    reader = {"address": "127.0.0.1:5", "name": "", "channels": 1, "age": 5, "unread_bytes": 2 * 1024 * 1024}
    named = {**reader, "address": "10.0.0.7:99", "name": "celery", "age": None, "unread_bytes": 0}
    rows = rows_of(HEALTHY, server={**SERVER, "subscribers": [reader, named]})
    slow, fine = (row for row in rows if row.title == "reader")
    assert (slow.level, slow.text) == (
        "warning",
        "127.0.0.1:5 (web-1): 1 id, connected for 5.0 s, 2097152 bytes not taken",
    )
    assert (fine.level, fine.text) == ("ok", "10.0.0.7:99 (celery): 1 id, 0 bytes not taken")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0003, "0.3 ms"),
        (1, "1.0 s"),
        (59.96, "60.0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (356_400, "4 d 3 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_and_counts() -> None:
    assert len(clock(time.time())) == len("12:00:00")
    assert len(clock(NOW - 200_000)) == len("2026-11-21 12:00:00")
    assert (counted(1, "id"), counted(0, "id")) == ("1 id", "0 ids")
