"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults.cli.source import URL_VARIABLE
from bgresults.status.wanted import STATUS_DIR
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL_VARIABLE, STATUS_DIR):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def writer(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


@pytest.fixture
def at(redis_server: RedisServer, key_prefix: str) -> list[str]:
    """The options that say where ``writer`` writes."""
    return ["--url", redis_server.url(), "--key-prefix", key_prefix]
