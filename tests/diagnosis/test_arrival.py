"""What is said of a result of our own making that does not arrive, and of a watcher that cannot connect."""

from __future__ import annotations

import time

import pytest

from bgresults import BackendUnavailableError, ResultFuture, ResultWatcher
from bgresults.diagnosis.round_trip import arrival, connecting
from bgresults.testing import FaultProxy, RedisServer

CURE = "do this"


@pytest.mark.parametrize(
    ("error", "text", "cure"),
    [
        (None, "did not arrive within 0.05 s", CURE),
        (BackendUnavailableError("the server is gone"), "the server is gone", "check that the server runs"),
        (ValueError("another one's"), "ValueError: another one's", CURE),
    ],
)
def test_it_does_not_arrive(error: Exception | None, text: str, cure: str) -> None:
    future = ResultFuture("probe", None)
    if error is not None:
        future.set_exception(error)
    finding = arrival(future, time.monotonic(), 0.05, CURE)
    assert (finding.level, finding.code) == ("error", "round-trip")
    assert text in finding.text
    assert cure in (finding.cure or "")


def test_the_watcher_is_closed() -> None:
    watcher = ResultWatcher("redis://127.0.0.1:1/0")
    watcher.close()
    finding = connecting(watcher, 0.05)
    assert finding is not None
    assert (finding.level, finding.code) == ("error", "watcher")
    assert "closed" in finding.text


def test_there_is_no_connection_in_time(redis_server: RedisServer) -> None:
    with FaultProxy(redis_server.port) as proxy:
        proxy.black_hole()
        with ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0", connect_timeout=0.2) as watcher:
            finding = connecting(watcher, 0.05)
    assert finding is not None
    assert "no connection within 0.05 s" in finding.text
    assert "check that the server runs" in (finding.cure or "")
