"""A watcher whose line to the server can be broken, plain or over TLS."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bgresults import RedisOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy, RedisServer
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

__all__ = ["NOTICED", "RECOVERED", "Line"]

_WAIT = 30
# Seconds that are no part of any bound, but of a machine that has other things to do.
_ROOM = 4.0
_HEALTH_CHECK_INTERVAL = 0.2
# The proxy is a thread of this very process: on a busy machine it is late, and that is no second outage.
_READ_TIMEOUT = 1.0
_CONNECT_TIMEOUT = 1.0
_QUICK = RetryPolicy(initial=0.01, maximum=0.05)

#: Seconds after which a dead link has been found out: a PING after the silence, and no answer to it.
NOTICED = _HEALTH_CHECK_INTERVAL + _READ_TIMEOUT + _ROOM
#: Seconds after which a line that works again is used: an attempt that is under way, the back-off, and the next one.
RECOVERED = 2 * _CONNECT_TIMEOUT + _QUICK.maximum + _ROOM


@dataclass
class Line:
    """A proxy between a server and its watchers, and what they say in the log."""

    server: RedisServer
    proxy: FaultProxy
    writer: ResultWriter
    ca: Path | None
    log: pytest.LogCaptureFixture

    def __post_init__(self) -> None:
        self.log.set_level(logging.INFO, logger="bgresults")

    @contextlib.contextmanager
    def watcher(
        self, *, connect_timeout: float = _CONNECT_TIMEOUT, read_timeout: float = _READ_TIMEOUT
    ) -> Iterator[ResultWatcher]:
        """One that is quick to notice, and to try again; it never has more than two connections."""
        options = RedisOptions(
            health_check_interval=_HEALTH_CHECK_INTERVAL,
            read_timeout=read_timeout,
            ssl_ca_certs=None if self.ca is None else str(self.ca),
        )
        scheme = "redis" if self.ca is None else "rediss"
        url = f"{scheme}://127.0.0.1:{self.proxy.port}/0"
        with ResultWatcher(url, redis=options, retry=_QUICK, connect_timeout=connect_timeout) as watcher:
            yield watcher
            assert self.proxy.most_connections <= 2

    def subscribed(self, watcher: ResultWatcher) -> ResultFuture:
        """A future that the server knows of, on a line that works."""
        future = watcher.watch(new_id())
        assert watcher.wait_ready(_WAIT)
        wait_until(lambda: self.writer.channels() == {future.task_id}, "the subscription")
        self.log.clear()
        return future

    def noticed(self, watcher: ResultWatcher) -> None:
        """Return once the outage is noticed, which takes so long at most."""
        wait_until(lambda: not watcher.connected, "the outage to be noticed", NOTICED)

    def levels(self) -> list[str]:
        """Of the lines in the log."""
        return [record.levelname for record in self.log.records if record.name.startswith("bgresults")]

    def told(self, levels: list[str]) -> None:
        """A result may be there a moment before the line in the log."""
        wait_until(lambda: len(self.levels()) >= len(levels), "the log")
        assert self.levels() == levels

    def is_well_again(self, watcher: ResultWatcher) -> None:
        """One outage, told once, and counted; and live messages arrive."""
        assert watcher.wait_ready(_WAIT)
        future = watcher.watch(new_id())
        wait_until(lambda: future.task_id in self.writer.channels(), "the next subscription")
        self.writer.write(future.task_id, "live")
        assert future.result(_WAIT) == "live"
        assert watcher.stats().reconnects == 1
        self.told(["WARNING", "INFO"])
