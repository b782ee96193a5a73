"""Fixtures of the tests at the limits of a process and of a machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from tests.limits.backends import Backend, backend_of
from tests.support.logs import Told


@pytest.fixture(params=["redis", pytest.param("rpc", marks=pytest.mark.rabbitmq)])
def url(request: pytest.FixtureRequest) -> str:
    """Of a server that all tests share, of each kind in its turn."""
    found: str = request.getfixturevalue("redis_url" if request.param == "redis" else "rabbitmq_url")
    return found


@pytest.fixture(params=["redis", pytest.param("rpc", marks=[pytest.mark.rabbitmq, pytest.mark.slow])])
def url_of_one(request: pytest.FixtureRequest) -> str:
    """As ``url``, for tests that take seconds: of the second kind only where there is time."""
    found: str = request.getfixturevalue("redis_url" if request.param == "redis" else "rabbitmq_url")
    return found


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    """That server, with somebody who plays the workers."""
    made = backend_of(url)
    yield made
    made.close()


@pytest.fixture
def watcher(url: str) -> Iterator[ResultWatcher]:
    """Watches what ``backend`` sends."""
    with ResultWatcher(url) as made:
        yield made


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """What the library says in the log."""
    return Told(caplog)
