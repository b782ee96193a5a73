"""Fixtures: a watcher, whoever plays its workers, and streams that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.sse.reading import KINDS, Follower
from tests.support.results import ResultWriter

Follow = Callable[..., Follower]


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


@pytest.fixture(params=KINDS)
def follow(request: pytest.FixtureRequest, watcher: ResultWatcher) -> Iterator[Follow]:
    """``follow(task_id, watcher=watcher, **options)`` → a Follower of ``sse()``, and of ``asse()``."""
    made: list[Follower] = []

    def begin(task_id: Any, watcher: ResultWatcher = watcher, **options: Any) -> Follower:
        follower = Follower(request.param, watcher, task_id, **options)
        made.append(follower)
        return follower

    yield begin
    for follower in made:
        follower.close()
