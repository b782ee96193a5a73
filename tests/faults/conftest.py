"""Fixtures around a server that a test may kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from bgresults.testing import FaultProxy, RedisServer
from tests.support.logs import Told
from tests.support.results import ResultWriter


@pytest.fixture
def writer(own_redis: RedisServer) -> Iterator[ResultWriter]:
    """Plays the workers; its connection comes back by itself when the server does."""
    results = ResultWriter(own_redis)
    yield results
    results.close()


@pytest.fixture
def watcher(own_redis: RedisServer) -> Iterator[ResultWatcher]:
    """Watches what ``writer`` writes."""
    with ResultWatcher(own_redis.url()) as made:
        yield made


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """What the library says in the log."""
    return Told(caplog)


@pytest.fixture
def proxy(own_redis: RedisServer) -> Iterator[FaultProxy]:
    """In front of ``own_redis``. However long an outage lasts, there are two connections at most."""
    with FaultProxy(own_redis.port) as made:
        yield made
        assert made.most_connections <= 2
