"""A watcher and its drain thread against a model of them, over a consumer that does what the test says."""

from __future__ import annotations

import pytest

from bgresults import RetryPolicy
from tests.model.drainer_machine import DrainerMachine
from tests.model.profiles import run_long, run_short
from tests.model.scene import GIVING_UP, RETRY, Kind, OnDisconnect

CASES = pytest.mark.parametrize(
    ("kind", "on_disconnect", "retry"),
    [
        pytest.param("store", "wait", RETRY, id="store-wait"),
        pytest.param("store", "fail", RETRY, id="store-fail"),
        pytest.param("store", "wait", GIVING_UP, id="store-give_up"),
        pytest.param("queue", "wait", RETRY, id="queue-wait"),
        pytest.param("queue", "fail", RETRY, id="queue-fail"),
    ],
)


# Two seconds each; but an example that fails is run many times more, to be shortened.
@pytest.mark.timeout(300)
@CASES
def test_any_order(kind: Kind, on_disconnect: OnDisconnect, retry: RetryPolicy) -> None:
    run_short(lambda: DrainerMachine(kind, on_disconnect, retry), 20)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@CASES
def test_any_order_at_length(kind: Kind, on_disconnect: OnDisconnect, retry: RetryPolicy) -> None:
    run_long(lambda: DrainerMachine(kind, on_disconnect, retry), 1500)
