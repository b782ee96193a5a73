"""Applications whose results are on servers of their own: what docs/scale.md says of sharing the load out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids

WAIT = 20


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with RedisServer() as first, RedisServer() as second:
        yield [first, second]


def test_each_has_its_own(servers: list[RedisServer]) -> None:
    """A watcher for each application: two connections to its server, and none to the other one."""
    apps = [
        Celery(f"shard-{number}", broker="memory://", backend=server.url(), set_as_current=False)
        for number, server in enumerate(servers)
    ]
    watchers = [ResultWatcher.from_celery(app) for app in apps]
    task_ids = new_ids(2)
    try:
        futures = [watcher.watch(task_id) for watcher, task_id in zip(watchers, task_ids, strict=True)]
        for server, task_id in zip(servers, task_ids, strict=True):
            wait_until(lambda s=server, t=task_id: s.channels() == {f"celery-task-meta-{t}"}, "its own id, no other")  # type: ignore[misc]
            assert len(server.clients("pubsub")) == 1
        for number, (server, task_id) in enumerate(zip(servers, task_ids, strict=True)):
            writer = ResultWriter(server)
            writer.write(task_id, number)
            writer.close()
        assert [future.result(WAIT) for future in futures] == [0, 1]
    finally:
        for watcher in watchers:
            watcher.close()
        for app in apps:
            app.close()


def test_databases_share_their_channels(servers: list[RedisServer]) -> None:
    """So another database of the same server is no second server: every channel is the server's."""
    server = servers[0]
    first, second = new_ids(2)
    with ResultWatcher(server.url(0)) as zero, ResultWatcher(server.url(1)) as one:
        futures = [zero.watch(first), one.watch(second)]
        wait_until(lambda: len(server.channels()) == 2, "both ids are subscribed")
        assert server.channels() == {f"celery-task-meta-{task_id}" for task_id in (first, second)}
        del futures
