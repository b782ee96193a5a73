"""Many pages at a time, all of which watch."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

from bgresults.testing import RedisServer
from bgresults.testing.sockets import connections_to
from tests.examples.running import Launched
from tests.support.results import ResultWriter, new_ids
from tests.support.waiting import wait_until

STREAMS = 50


def test_fifty_streams_of_one_process_share_two_connections(own_redis: RedisServer) -> None:
    """One gunicorn worker with threads."""
    arguments = ["flask", "--port", "0", "--redis", own_redis.url()]
    ids = new_ids(STREAMS)
    with (
        Launched(arguments, {"WEB_CONCURRENCY": "1"}) as launched,
        closing(ResultWriter(own_redis)) as writer,
        ExitStack() as everything,
    ):
        address = urlsplit(launched.serving().url).netloc
        streams = [everything.enter_context(stream(address, task_id)) for task_id in ids]
        wait_until(lambda: writer.channels() == set(ids), "all subscriptions")
        web = [pid for pid, command in launched.processes().items() if "gunicorn" in command]
        assert len(web) == 2  # The master, and its worker.
        assert sum(connections_to(own_redis.port, pid) or 0 for pid in web) == 2
        for task_id in ids[:10]:
            writer.write(task_id, {"Revenue": "€ 1"})
        for ended in streams[:10]:
            assert b"event: end\n" in ended.read()
        wait_until(lambda: writer.channels() == set(ids[10:]), "their subscriptions to end")
        everything.close()
        wait_until(lambda: not writer.channels(), "those of the clients that have left to end")


@contextmanager
def stream(address: str, task_id: str) -> Iterator[http.client.HTTPResponse]:
    """Of the events of a task."""
    connection = http.client.HTTPConnection(address, timeout=20)
    with closing(connection):
        connection.request("GET", f"/events/{task_id}")
        with connection.getresponse() as response:
            assert response.status == 200
            yield response
