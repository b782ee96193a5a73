"""However many attempts to connect are vain, none of them leaves anything behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from bgresults.consumers import ConnectionLost
from bgresults.consumers.rpc import ResultConsumer
from tests.support.closed import CLOSED_PORT
from tests.support.leaks import Snapshot


def test_a_failed_attempt_leaves_none(no_collection: None) -> None:
    """kombu's transport over Redis has an epoll, which nobody would close before the next garbage collection."""
    consumer = ResultConsumer(f"rpc+redis://127.0.0.1:{CLOSED_PORT}/0", auto_reconnect=False)
    with pytest.raises(ConnectionLost):
        consumer.reconnect()
    before = Snapshot()
    for _ in range(10):
        with pytest.raises(ConnectionLost):
            consumer.reconnect()
    assert not before.new_in(Snapshot())


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
