"""A watcher of replies at work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from bgresults import ResultWatcher
from tests.support.broker import ReplyWriter
from tests.support.gates import until_threads_sleep
from tests.support.results import new_ids
from tests.support.rpc_lines import WAIT
from tests.support.waiting import wait_until

__all__ = ["IDS_OF_LOAD", "Load", "resolves"]

IDS_OF_LOAD = 5
_LOAD_THREADS = 4


def resolves(watcher: ResultWatcher, url: str, count: int = 10) -> None:
    """A watcher gets replies, in this process."""
    writer = ReplyWriter(url)
    futures = watcher.watch_many(new_ids(count))
    for future in futures:
        writer.write(watcher.reply_to, future.task_id, future.task_id)
    assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
    writer.close()


class Load:
    """Threads that watch, have workers reply, and wait all the time, from ``with`` to its end.

    Args:
        watcher: theirs.
        url: where the workers reply.
        pause: seconds between two batches of each.
    """

    def __init__(self, watcher: ResultWatcher, url: str, *, pause: float = 0.0) -> None:
        self._watcher = watcher
        self._pause = pause
        self._over = threading.Event()
        self._go = threading.Event()
        self._standing: set[int] = set()
        # Connected now: a fork while a name is being resolved would leave the child with a locked resolver.
        self._writers = [ReplyWriter(url) for _ in range(_LOAD_THREADS)]
        #: For the thread that made this.
        self.writer = ReplyWriter(url)
        self._threads = [threading.Thread(target=self._work, args=(writer,)) for writer in self._writers]
        #: Of each batch of IDS_OF_LOAD, whether all results were right.
        self.outcomes: list[bool] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Load:
        self._go.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for writer in (self.writer, *self._writers):
            writer.close()

    def stop(self) -> None:
        """Return when the last batch has been waited for. Idempotent."""
        self._over.set()
        self._go.set()
        for thread in self._threads:
            thread.join(3 * WAIT)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """All threads of this process sleep meanwhile, with pending ids."""
        self._go.clear()
        try:
            wait_until(lambda: len(self._standing) == _LOAD_THREADS or self.errors, "the load to stand still")
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

    def _work(self, writer: ReplyWriter) -> None:
        try:
            while not self._over.wait(self._pause):
                futures = self._watcher.watch_many(new_ids(IDS_OF_LOAD))
                if not self._go.is_set():
                    self._standing.add(threading.get_ident())
                    self._go.wait(WAIT)
                    self._standing.discard(threading.get_ident())
                for future in futures:
                    writer.write(self._watcher.reply_to, future.task_id, future.task_id)
                self.outcomes.append(all(future.result(2 * WAIT) == future.task_id for future in futures))
        except BaseException as error:
            self.errors.append(error)
