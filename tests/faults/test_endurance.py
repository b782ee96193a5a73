"""A watcher that has worked for long is as small as one that is new."""

from __future__ import annotations

import gc
import os
import random
import sys
from dataclasses import dataclass

import pytest

from bgresults import ResultFuture, ResultWatcher, WatcherStats
from tests.support import wait_until
from tests.support.leaks import Snapshot
from tests.support.results import ResultWriter, new_id, state_body

WAIT = 60
BATCHES = (1, 2, 7, 50, 300, 1000, 2000)
# What the interpreter and its allocator may keep for themselves, however long it takes.
SPARE_BLOCKS = 1000
SPARE_MEMORY = 12 * 1024 * 1024
# What pending.py compacts its heap for; see there.
SMALL_HEAP = 64


@dataclass(frozen=True)
class Size:
    """How much there is of this process.

    Attributes:
        blocks: what Python's allocator has handed out. Exact, but blind to a table of a dict or list that grows.
        memory: bytes of real memory.
    """

    blocks: int
    memory: int

    @classmethod
    def now(cls) -> Size:
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        return cls(sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE"))


class Life:
    """What programs do with futures, in a random mix."""

    def __init__(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        self.seed = random.randrange(2**32)
        self._random = random.Random(self.seed)
        self._watcher = watcher
        self._writer = writer
        #: Futures so far, and how many of them got a result.
        self.cycles = self.resolved = 0
        #: The longest that the heap of deadlines has been.
        self.longest_heap = 0

    def go_on(self, cycles: int) -> None:
        """Live for at least so many more futures, and be at rest then."""
        until = self.cycles + cycles
        while self.cycles < until:
            self._batch(self._random.choice(BATCHES))
            self.longest_heap = max(self.longest_heap, self._watcher._session.pending._scheduled)
            # A server forgets after a day what will not be asked for again.
            self._writer.client.flushdb()
        # Deadlines of futures that left go when the next one comes, and finds them gone.
        wait_until(lambda: self._watcher.pending == 0, "the end of what was dropped", WAIT)
        last = self._watcher.watch(new_id())
        self.cycles += 1
        wait_until(lambda: self._watcher._session.pending._scheduled <= SMALL_HEAP, "a compact heap", WAIT)
        last.cancel()
        wait_until(lambda: self._watcher.pending == 0 and not self._writer.channels(), "the end of all watches", WAIT)

    def _batch(self, count: int) -> None:
        ids = [new_id() for _ in range(count)]
        # A few ids have two futures.
        futures = self._watcher.watch_many(ids) + self._watcher.watch_many(ids[: count // 10])
        self._random.shuffle(futures)
        for future in futures[::4]:
            future.add_done_callback(_pin)
        self.cycles += len(futures)
        third = (len(futures) + 2) // 3
        waited_for, leaving = futures[:third], futures[third:]
        del futures
        self.resolved += len(waited_for)
        if self._random.random() < 0.5:
            # Most of them before they are subscribed to.
            self._leave(leaving)
        self._writer.write_all({future.task_id: state_body(future.task_id, result=1) for future in waited_for})
        assert all(future.result(WAIT) == 1 for future in waited_for)
        self._leave(leaving)

    def _leave(self, futures: list[ResultFuture]) -> None:
        """Cancel half of them, and those that are pinned; drop the rest."""
        while futures:
            future = futures.pop()
            if future._done_callbacks or self._random.random() < 0.5:
                future.cancel()


def ended(stats: WatcherStats) -> int:
    return stats.resolved + stats.cancelled + stats.dropped


def _pin(_: object) -> None:
    """A callback: as long as a future has one, it is not dropped."""


@pytest.mark.parametrize(
    "cycles", [20_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_nothing_grows(watcher: ResultWatcher, writer: ResultWriter, cycles: int) -> None:
    """Watched, resolved, dropped, cancelled, with and without callbacks, with the default lifetime of a day."""
    life = Life(watcher, writer)
    life.go_on(max(8000, cycles // 20))
    before, alive = Size.now(), Snapshot()
    life.go_on(cycles)
    after = Size.now()
    # Counted a moment after whoever waits for it is told.
    wait_until(lambda: ended(watcher.stats()) == life.cycles, "each future to be counted once")
    stats = watcher.stats()
    print(
        f"seed {life.seed}: {life.cycles} futures, {life.resolved} waited for, {stats.resolved} resolved, "
        f"{stats.cancelled} cancelled, {stats.dropped} dropped; "
        f"blocks {before.blocks} -> {after.blocks}, memory {before.memory >> 10} -> {after.memory >> 10} kB; "
        f"heap of deadlines {life.longest_heap} at most"
    )
    assert after.blocks - before.blocks < SPARE_BLOCKS
    assert after.memory - before.memory < SPARE_MEMORY
    assert alive.new_in(Snapshot()) == {}
    assert (stats.pending, stats.subscribed, stats.reconnects) == (0, 0, 0)
    assert stats.watched == life.cycles
    assert stats.watched == ended(stats)
    assert stats.cancelled > cycles // 10
    assert stats.dropped > cycles // 10
    # At most half of it belongs to futures that left; some were pending when it was looked at.
    assert life.longest_heap <= max(SMALL_HEAP, 2 * 2 * max(BATCHES))
