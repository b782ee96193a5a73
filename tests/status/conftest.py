"""Fixtures of the tests of what a process says of itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults import ResultWatcher
from bgresults.diagnosis import serve_status
from bgresults.status import wanted
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter


@pytest.fixture
def writer(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


@pytest.fixture
def watcher(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix, name="web") as made:
        yield made


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For sockets; whatever a test has started is ended, and whatever it has said forgotten."""
    monkeypatch.setattr(wanted, "_said", False)
    monkeypatch.setattr(wanted, "_folder", None)
    monkeypatch.delenv(wanted.STATUS_DIR, raising=False)
    # The paths of sockets are short, those of pytest's own folders are not.
    with tempfile.TemporaryDirectory(prefix="bgr-") as parent:
        yield Path(parent) / "status"
        serve_status(None)
