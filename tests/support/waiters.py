"""Threads that wait in ``result()``, as the threads of a web server do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any

from bgresults import ResultFuture
from tests.support.waiting import wait_until

__all__ = ["Waiters", "is_waited_for"]


def is_waited_for(future: ResultFuture) -> bool:
    """Whether a thread sleeps in ``future.result()``, or is about to.

    The standard library knows. To look where all threads are would say the same; but before Python 3.12
    ``sys._current_frames()`` itself hangs now and then, when the garbage collector comes.
    """
    condition: Any = future._cond
    return condition is not None and bool(condition._waiters)


class Waiters:
    """A crew of threads; each waits for one future at a time, from ``with`` to its end.

    Args:
        count: how many there are, so how many futures can be waited for at once.
        timeout: seconds that each waits at most.
    """

    def __init__(self, count: int, timeout: float) -> None:
        self._timeout = timeout
        self._jobs: queue.SimpleQueue[ResultFuture | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._given: list[ResultFuture] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def __enter__(self) -> Waiters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(self._timeout + 5)

    def take(self, futures: Iterable[ResultFuture]) -> None:
        """Have each of these waited for by a thread of its own."""
        given = list(futures)
        self._given += given
        assert len(self._given) <= len(self._threads), "more futures than threads"
        for future in given:
            self._jobs.put(future)

    def until_waiting(self) -> None:
        """Return once a thread sleeps for each of the futures."""
        wait_until(lambda: all(map(is_waited_for, self._given)), "the threads to wait", interval=0.001)

    def outcomes(self) -> dict[str, Any]:
        """Task id → what ``result()`` returned or raised, once all have come back."""
        found = {}
        for _ in self._given:
            task_id, outcome = self._outcomes.get(timeout=self._timeout + 5)
            found[task_id] = outcome
        self._given = []
        return found

    def _work(self) -> None:
        while (future := self._jobs.get()) is not None:
            try:
                outcome: Any = future.result(self._timeout)
            except BaseException as error:
                outcome = error
            self._outcomes.put((future.task_id, outcome))
            del future, outcome
