"""The pytest plugin of bgresults: fixtures for tests of code that waits for tasks. ``docs/testing.md`` explains them.

A module outside of the package, since pytest imports it at the start of every run, and importing ``bgresults`` takes a
while, and would happen before a measurement of coverage has begun. Nothing of it is imported before a test asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bgresults import ResultWatcher
    from bgresults.testing import FakeRedisResults, FakeResults, ProxiedServer

_STRICT = "bgresults_strict"
_NO_BACKOFF = "bgresults_no_backoff"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(_STRICT, "fail tests that leave loose ends in fake_results", type="bool", default=False)
    parser.addini(_NO_BACKOFF, "switch the back-off of all watchers off, for the whole run", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "bgresults(strict=…, **settings): for fake_results: whether loose ends are errors; and arguments of "
        "ResultWatcher for bgresults_watcher, such as on_disconnect='fail'",
    )
    if config.getini(_NO_BACKOFF):
        from bgresults.testing import set_backoff_active

        set_backoff_active(False)
        config.add_cleanup(lambda: set_backoff_active(True))


@pytest.fixture
def fake_results(request: pytest.FixtureRequest) -> Iterator[FakeResults]:
    """Takes the place of result backend, broker and workers; see ``bgresults.testing.FakeResults``."""
    from bgresults.testing.pytest_fixtures import entered_fake

    with entered_fake(request) as fake:
        yield fake


@pytest.fixture
def bgresults_watcher(request: pytest.FixtureRequest, fake_results: FakeResults) -> ResultWatcher:
    """A watcher without a server: ``fake_results`` says what becomes of the tasks."""
    from bgresults.testing.pytest_fixtures import new_watcher

    return new_watcher(request, fake_results)


@pytest.fixture
def bgresults_fakeredis(request: pytest.FixtureRequest) -> Iterator[FakeRedisResults]:
    """A Redis server in this process, and the part of the workers; see ``bgresults.testing.FakeRedisResults``."""
    from bgresults.testing.pytest_fixtures import entered_fakeredis

    with entered_fakeredis(request) as results:
        yield results


@pytest.fixture
def bgresults_proxy() -> Iterator[Callable[[str], ProxiedServer]]:
    """``bgresults_proxy(url)`` → a proxy in front of a server, to cut and delay its connections; closed at the end."""
    from bgresults.testing import ProxiedServer, no_backoff

    with contextlib.ExitStack() as proxies:
        proxies.enter_context(no_backoff())
        yield lambda url: proxies.enter_context(ProxiedServer(url))


@pytest.fixture
def bgresults_no_backoff() -> Iterator[None]:
    """In this test no watcher waits before it tries again to connect; see ``bgresults.testing.no_backoff``."""
    from bgresults.testing import no_backoff

    with no_backoff():
        yield
