"""Fixtures of the tests of metrics, traces and log records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter

NAME = "reports"


@pytest.fixture
def writer(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    """Writes results to the shared Redis, under this test's prefix."""
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


@pytest.fixture
def watcher(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    """Watches what ``writer`` writes."""
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix, name=NAME) as made:
        yield made


@pytest.fixture
def page() -> str:
    """What docs/monitoring.md says."""
    return (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
