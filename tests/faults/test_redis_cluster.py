"""A node of a Redis Cluster, which cannot be a result backend: said at once, however far the first ids get."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from bgresults import BackendUnavailableError, ResultWatcher
from bgresults.testing import RedisServer
from bgresults.testing.servers import free_port
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20


@pytest.fixture(scope="module")
def node() -> Iterator[RedisServer]:
    """Of a cluster that nobody has finished: it has no slots."""
    # The nodes of a cluster talk to each other 10 000 ports higher.
    port = next(port for port in iter(free_port, 0) if port + 10_000 < 65_536)
    with RedisServer(port, args=["--cluster-enabled", "yes"]) as made:
        yield made


def test_one_that_is_not_ready(node: RedisServer) -> None:
    with ResultWatcher(node.url()) as watcher:
        assert_refused(watcher, [new_id()])


def test_one_that_has_served_an_id(node: RedisServer) -> None:
    """The last one in this module: the node gets all slots, so that a single id is found there, and two are not."""
    node.command("CLUSTER", "ADDSLOTS", *range(16384))
    writer = ResultWriter(node)
    task_id = new_id()

    def stored() -> bool:
        try:
            writer.store(task_id, 1)
        except redis.RedisError:
            return False  # It takes some seconds to believe that it is alone.
        return True

    wait_until(stored, "the node serves its slots")
    with ResultWatcher(node.url()) as watcher:
        assert watcher.watch(task_id).result(WAIT) == 1
        assert_refused(watcher, new_ids(2))
    writer.close()


def assert_refused(watcher: ResultWatcher, task_ids: list[str]) -> None:
    for future in watcher.watch_many(task_ids):
        with pytest.raises(BackendUnavailableError, match="a node of a Redis Cluster"):
            future.result(WAIT)
