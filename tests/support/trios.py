"""Watchers, and what plays the workers, behind real sentinels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import RedisServer, SentinelTrio
from tests.support.outages import QUICK
from tests.support.results import ResultWriter
from tests.support.sockets import connections
from tests.support.waiting import wait_until

__all__ = ["ALERT", "connections_before", "two_to", "watching", "writing", "written"]

WAIT = 30
#: What is wrong with a link, or with the choice of a server, is found soon.
ALERT = RedisOptions(health_check_interval=0.3, read_timeout=1.0)


@contextlib.contextmanager
def watching(trio: SentinelTrio, options: RedisOptions = ALERT) -> Iterator[ResultWatcher]:
    with ResultWatcher(trio.url(), redis=options, retry=QUICK) as watcher:
        yield watcher


@contextlib.contextmanager
def writing(trio: SentinelTrio) -> Iterator[ResultWriter]:
    writer = ResultWriter(trio)
    yield writer
    writer.close()


def written(writer: ResultWriter, task_id: str, result: object = None) -> None:
    """Written as a worker does it that tries again until the master takes it."""

    def done() -> bool:
        try:
            writer.write(task_id, result)
        except redis.RedisError:
            return False
        return True

    wait_until(done, "a master that takes a result", WAIT)


def two_to(server: RedisServer, trio: SentinelTrio, before: dict[int, int]) -> None:
    """Two connections to this server, none to the other one and none to a sentinel, besides those there were before."""

    def added() -> dict[int, int]:
        return {port: connections(port) - count for port, count in before.items()}

    expected = {port: 2 if port == trio.port_of(server) else 0 for port in before}
    # A question to a sentinel may be under way.
    wait_until(lambda: added() == expected, f"{expected} connections", WAIT)


def connections_before(trio: SentinelTrio) -> dict[int, int]:
    ports = [trio.port_of(server) for server in trio.servers] + trio.sentinel_ports()
    return {port: connections(port) for port in ports}
