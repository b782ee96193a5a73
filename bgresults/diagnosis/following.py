""":class:`Following`: the states of several tasks, live, and how they ended: for a command that is asked to wait."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from bgresults.errors import BackendUnavailableError, WatcherError
from bgresults.futures import ResultFuture
from bgresults.meta import READY_STATES, TaskMeta
from bgresults.options import check_seconds
from bgresults.task_ids import task_ids_of
from bgresults.watcher import ResultWatcher

__all__ = ["EXIT_CODES", "Following", "Outcome", "why_unheard"]

Outcome = Literal["succeeded", "failed", "revoked", "unavailable", "unknown", "timed-out"]

#: How it ended → the exit code of a command that says so. 2 is for wrong arguments, 124 is that of ``timeout(1)``.
EXIT_CODES: Final[dict[Outcome, int]] = {
    "succeeded": 0,
    "failed": 1,
    "unknown": 3,
    "revoked": 4,
    "unavailable": 5,
    "timed-out": 124,
}

_UNHEARD = (
    "results come as replies to the process that sent the task, and of a task that another process sent none comes "
    "here: have it sent and watched with AMQPOptions(binding='task') (docs/amqp.md), or store results in Redis"
)


class Following:
    """Iterating yields each state of any of the tasks as it comes, and ends when all tasks have ended, or time is up.

    One thread iterates, once. The watch begins with that; what is still pending when the iteration ends, or is left
    early, is not watched any more.

    Args:
        watcher: stays open.
        task_ids: as for :meth:`ResultWatcher.watch_many`.
        timeout: seconds for all of it; None for no limit.

    Raises:
        TypeError, ValueError: an argument makes no sense.

    Attributes:
        finals: task id → its final state, of those that ended.
        errors: task id → what went wrong with the waiting.
    """

    def __init__(self, watcher: ResultWatcher, task_ids: Iterable[Any], *, timeout: float | None = None) -> None:
        check_seconds("timeout", timeout, optional=True)
        self._watcher = watcher
        self.task_ids = list(dict.fromkeys(task_ids_of(task_ids)))
        self._timeout = timeout
        self.finals: dict[str, TaskMeta] = {}
        self.errors: dict[str, Exception] = {}
        self._cut_off = False

    def __iter__(self) -> Iterator[TaskMeta]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        # States, and futures that have ended; of each task in the order in which they came.
        told: queue.SimpleQueue[TaskMeta | ResultFuture] = queue.SimpleQueue()
        try:
            futures = self._watcher.watch_many(self.task_ids, on_update=told.put)
        except WatcherError as refusal:
            self.errors = dict.fromkeys(self.task_ids, refusal)
            return
        try:
            for future in futures:
                future.add_done_callback(told.put)  # type: ignore[arg-type]  # it is called with the future itself
            left = len(futures)
            while left:
                try:
                    item = told.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    self._cut_off = not self._watcher.connected
                    return
                if isinstance(item, TaskMeta):
                    if item.ready:
                        self.finals[item.task_id] = item
                    yield item
                    continue
                left -= 1
                error = item.exception(0)
                if error is not None and item.status not in READY_STATES:
                    assert isinstance(error, Exception)
                    self.errors[item.task_id] = error
                elif item.task_id not in self.finals and item.meta is not None:
                    # It had ended when it was asked for: nobody was told of a state.
                    self.finals[item.task_id] = item.meta
                    yield item.meta
        finally:
            for future in futures:
                future.cancel()

    @property
    def pending(self) -> list[str]:
        """Ids of tasks of which nothing final is known."""
        return [task_id for task_id in self.task_ids if task_id not in self.finals and task_id not in self.errors]

    @property
    def outcome(self) -> Outcome:
        """How it ended, in a word: what is worst counts, and what is certain before what is not.

        ``"failed"`` and ``"revoked"``: a task was. ``"unavailable"``: the backend refuses, was given up on, or was not
        there when time was up. ``"unknown"``: the waiting for a task went wrong otherwise. ``"timed-out"``: time was
        up. ``"succeeded"``: all have.
        """
        states = {final.status for final in self.finals.values()}
        if "FAILURE" in states:
            return "failed"
        if "REVOKED" in states:
            return "revoked"
        unavailable = [isinstance(error, BackendUnavailableError) for error in self.errors.values()]
        if any(unavailable) or (self.pending and self._cut_off):
            return "unavailable"
        if unavailable:
            return "unknown"
        return "timed-out" if self.pending else "succeeded"

    @property
    def exit_code(self) -> int:
        """:attr:`outcome` as a number for a command, of ``EXIT_CODES``."""
        return EXIT_CODES[self.outcome]


def why_unheard(watcher: ResultWatcher) -> str | None:
    """Why this process hears nothing of tasks that other processes sent, and the cure; None if it does.

    Connects to nothing. Settings that make no sense are left to whoever watches.
    """
    try:
        watcher._configure()
    except (WatcherError, TypeError, ValueError):
        return None
    return _UNHEARD if watcher._settings.binding == "process" else None
