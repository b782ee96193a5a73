"""Fixtures around a server that a test may kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
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
