"""Fixtures of the tests that play the workers themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter


@pytest.fixture
def writer(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    """Writes results to the shared Redis, under this test's prefix."""
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


@pytest.fixture
def watcher(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    """Watches what ``writer`` writes."""
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as made:
        yield made
