"""Watchers behind sentinels that say what a test wants them to say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import RedisServer
from tests.support.outages import PATIENCE, QUICK
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

__all__ = ["CURIOUS", "NAMED", "heard", "replica_of", "sentinel_url", "watching"]

#: The sentinels are asked again at once.
CURIOUS = RedisOptions(master_name="mymaster", health_check_interval=0.1)
NAMED = RedisOptions(master_name="mymaster")


def sentinel_url(*ports: int) -> str:
    places = ";".join(f"127.0.0.1:{port}" for port in ports)
    return f"sentinel://{places}/0"


@contextlib.contextmanager
def watching(*ports: int, options: RedisOptions = NAMED, **settings: Any) -> Iterator[ResultWatcher]:
    with ResultWatcher(sentinel_url(*ports), redis=options, retry=QUICK, **settings) as watcher:
        yield watcher


@contextlib.contextmanager
def replica_of(server: RedisServer) -> Iterator[RedisServer]:
    with RedisServer(args=["--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0"]) as made:
        yield made


def heard(watcher: ResultWatcher, writer: ResultWriter) -> bool:
    """Whether a result that is published there comes."""
    future = watcher.watch(new_id())
    wait_until(lambda: future.task_id in writer.channels(), "the subscription", PATIENCE)
    writer.write(future.task_id, 1)
    return bool(future.result(PATIENCE) == 1)
