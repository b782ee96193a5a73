"""Failovers while many threads watch, write and wait."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest
import redis

from bgresults import ResultFuture, ResultWatcher
from bgresults.testing import SentinelTrio
from tests.support import wait_until
from tests.support.results import ResultWriter, new_ids, state_body
from tests.support.trios import watching, writing

WAIT = 30


class Load:
    """Threads that watch, have a result written, and wait for it, one after the other; and count."""

    def __init__(self, trio: SentinelTrio, watcher: ResultWatcher, threads: int) -> None:
        self._trio = trio
        self._watcher = watcher
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._writers = [ResultWriter(trio) for _ in range(4)]
        self._locks = [threading.Lock() for _ in self._writers]
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        #: Futures whose result some master has acknowledged.
        self.written: list[ResultFuture] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT)
        for writer in self._writers:
            writer.close()

    def _work(self, number: int) -> None:
        writer, lock = self._writers[number % 4], self._locks[number % 4]
        while not self._stop.is_set():
            futures = self._watcher.watch_many(new_ids(random.randint(1, 5)))
            for future in futures:
                try:
                    with lock:
                        writer.write_body(future.task_id, state_body(future.task_id, result=future.task_id))
                except redis.RedisError:
                    # No master just now; a worker would try again.
                    time.sleep(0.01)
                    continue
                with self._lock:
                    self.written.append(future)
                with contextlib.suppress(FutureTimeoutError):
                    future.result(0.2)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_failovers_under_load() -> None:
    """Whatever the master has at the end came to its future. What a dead master took with it is not there."""
    with SentinelTrio() as trio, watching(trio) as watcher:
        with Load(trio, watcher, threads=32) as load:
            for _ in range(3):
                seen = len(load.written)
                wait_until(lambda seen=seen: len(load.written) > seen + 200, "results", WAIT)  # type: ignore[misc]
                trio.failover()
            old = trio.master
            old.kill()
            trio.wait_for_failover(old)
            seen = len(load.written)
            wait_until(lambda: len(load.written) > seen + 200, "results", WAIT)
        with writing(trio) as writer:
            there = [future for future in load.written if writer.client.exists(writer.key(future.task_id))]
        assert len(there) > 1000
        lost = [future for future in there if future.exception(WAIT) is not None or future.result() != future.task_id]
        assert not lost
        stats = watcher.stats()
        assert stats.reconnects >= 4
        assert stats.recovered > 0
        print(f"{len(there)} of {len(load.written)} results are there, all came; {stats.recovered} by reading")
