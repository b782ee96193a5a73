"""Children of a parent that is busy: nobody loses a result, however often, and whichever way, it forks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.children import run_in_children
from tests.support.forks import c_fork
from tests.support.gates import until_threads_sleep
from tests.support.results import ResultWriter, new_ids
from tests.support.stages import until_at_rest

WAIT = 20
CHILDREN = 4
WAITS = 10
LOAD_THREADS = 4
IDS_OF_LOAD = 5


class Load:
    """Threads of the parent that watch and wait all the time, from ``with`` to its end."""

    def __init__(self, watcher: ResultWatcher, server: RedisServer) -> None:
        self._watcher = watcher
        self._over = False
        self._go = threading.Event()
        self._standing: set[int] = set()
        # Connected now: a fork while a name is being resolved would leave the child with a locked resolver.
        self._writers = [ResultWriter(server) for _ in range(LOAD_THREADS)]
        self._threads = [threading.Thread(target=self._work, args=(writer,)) for writer in self._writers]
        #: Of each batch, whether all results were right.
        self.outcomes: list[bool] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Load:
        self._go.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(WAIT)
        for writer in self._writers:
            writer.close()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """All threads of this process sleep meanwhile, in the middle of what they do: with subscribed, pending ids."""
        self._go.clear()
        try:
            wait_until(lambda: len(self._standing) == LOAD_THREADS or self.errors, "the load to stand still")
            until_at_rest(self._watcher)
            until_threads_sleep()
            yield
        finally:
            self._go.set()
            # Or the next time would count those that have not woken yet.
            wait_until(lambda: not self._standing, "the load to go on")

    def until_there_is_more(self) -> None:
        """Return once more results have come."""
        before = len(self.outcomes)
        wait_until(lambda: len(self.outcomes) > before or self.errors, "the load")

    def _work(self, writer: ResultWriter) -> None:
        try:
            while not self._over:
                futures = self._watcher.watch_many(new_ids(IDS_OF_LOAD))
                if not self._go.is_set():
                    self._standing.add(threading.get_ident())
                    self._go.wait(WAIT)
                    self._standing.discard(threading.get_ident())
                for future in futures:
                    writer.write(future.task_id, future.task_id)
                self.outcomes.append(all(future.result(WAIT) == future.task_id for future in futures))
        except BaseException as error:
            self.errors.append(error)


@pytest.fixture
def watcher(own_redis: RedisServer) -> Iterator[ResultWatcher]:
    """One whose thread, once it sleeps, does not wake to look after the link in the middle of a C-level fork."""
    with ResultWatcher(own_redis.url(), redis=RedisOptions(health_check_interval=3600, read_timeout=3600)) as made:
        yield made


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_children_of_a_busy_parent(
    watcher: ResultWatcher, writer: ResultWriter, own_redis: RedisServer, rounds: int
) -> None:
    """Ten waits in each of four children at a time, while the parent waits as well."""
    kept = watcher.watch_many(new_ids(100))
    ids = {future.task_id for future in kept}
    wait_until(lambda: writer.channels() == ids, "the parent's subscriptions")

    def child() -> None:
        mine = ResultWriter(own_redis)
        for task_id in new_ids(WAITS):
            future = watcher.watch(task_id)
            mine.write(task_id, task_id)
            assert future.result(WAIT) == task_id
        # Counted a moment after whoever waits for it is told.
        wait_until(lambda: watcher.stats().resolved == WAITS, "the last one to be counted")
        stats = watcher.stats()
        assert (stats.watched, stats.resolved, stats.pending, stats.reconnects) == (WAITS, WAITS, 0, 0)

    codes: dict[str, list[int]] = {"os.fork": [], "C-level fork": []}
    with Load(watcher, own_redis) as load:
        for number in range(rounds):
            load.until_there_is_more()
            if number % 2 == 0:
                codes["os.fork"] += run_in_children(CHILDREN, child, fork=os.fork)
            else:
                # No hook, so the child has the interpreter's own lock as it was: a child of a process in which another
                # thread waits for that lock hangs in CPython, without any code of this library in it.
                codes["C-level fork"] += run_in_children(CHILDREN, child, fork=c_fork, quiet=load.standing_still)
            assert ids <= writer.channels(), "no child unsubscribes what is the parent's"
    well = {name: WAITS * found.count(0) for name, found in codes.items()}
    print(f"{rounds} rounds: resolved in the children {well}, in the parent {IDS_OF_LOAD * len(load.outcomes)}")
    assert load.errors == []
    assert all(load.outcomes)
    assert well == dict.fromkeys(codes, WAITS * CHILDREN * rounds // 2), f"exit codes {codes}"
    wait_until(lambda: writer.channels() == ids, "no channels but the parent's")
    for future in kept:
        writer.write(future.task_id, future.task_id)
    assert [future.result(WAIT) for future in kept] == [future.task_id for future in kept]
    assert watcher.stats().reconnects == 0
