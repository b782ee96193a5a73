""":class:`ResultFuture`: a ``concurrent.futures.Future`` of a task's result, which a drain thread resolves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures._base import FINISHED
from typing import Any

from bgresults.lazy_future import LazyFuture
from bgresults.meta import TaskMeta
from bgresults.ownership import FutureOwner

__all__ = ["ResultFuture", "UpdateCallback"]

UpdateCallback = Callable[[TaskMeta], object]


class ResultFuture(LazyFuture):
    """The result of one task, sooner or later.

    Everything that ``concurrent.futures.Future`` documents holds, from any thread. ``wait()``, ``as_completed()`` and
    ``asyncio.wrap_future()`` take it as it is. Beyond that:

    * ``result()`` and ``exception()`` raise :class:`~bgresults.errors.WouldDeadlockError` when they would have to wait
      on the drain thread, that is in a callback. ``concurrent.futures.wait()`` and ``as_completed()`` cannot be guarded
      like that: do not call them in a callback.
    * A task that raised ``TimeoutError`` looks like a ``result()`` that timed out; ``done()`` tells them apart.
    * :meth:`cancel` stops *watching*. The task itself goes on; revoking it is a matter for Celery.
    * The value is decoded once: futures of the same task share it.

    A future is held weakly by its watcher: one that nobody refers to, and that has no callback, is dropped and its
    subscription ends.
    """

    __slots__ = ("_on_update", "_raw", "task_id")

    #: The id of the task.
    task_id: str
    # The last known state as it was decoded; the drain thread writes it before it ends the future.
    _raw: Mapping[str, Any] | None
    _on_update: UpdateCallback | None

    def __init__(
        self,
        task_id: str,
        owner: FutureOwner | None,
        on_update: UpdateCallback | None = None,
        known_generation: int | None = None,
    ) -> None:
        super().__init__(owner, known_generation)
        self.task_id = task_id
        self._on_update = on_update
        self._raw = None

    @property
    def status(self) -> str | None:
        """The last known state of the task in Celery's word (``"STARTED"``, ``"SUCCESS"``, …), or None."""
        raw = self._raw
        return None if raw is None else raw["status"]

    @property
    def meta(self) -> TaskMeta | None:
        """Everything the last known state said, or None. Of a failed task, ``meta.result`` is its exception."""
        raw = self._raw
        if raw is None:
            return None
        if self._state == FINISHED and self._exception is not None:
            return TaskMeta.from_raw(raw, self._exception)
        return TaskMeta.from_raw(raw)

    def result(self, timeout: float | None = None) -> Any:
        """Return the task's result; wait for it at most ``timeout`` seconds (None: without end).

        Raises:
            TimeoutError: it did not come in time. The future stays pending and can be asked again.
            CancelledError: the future was cancelled.
            TaskError: the task failed with something that has no class here, or was revoked.
            WatcherError: waiting itself went wrong; see the subclasses.
            WouldDeadlockError: asked on the drain thread, and not done yet.
            Exception: what the task raised, with the worker's traceback as its ``__cause__``.
        """
        try:
            exception = self._outcome(timeout)
            if exception is not None:
                raise exception
            return self._result
        finally:
            # The exception's traceback refers to this frame, and the frame to the future that holds the exception.
            del self
            exception = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what :meth:`result` would raise, or None; waits and raises as that does otherwise."""
        return self._outcome(timeout)

    def __repr__(self) -> str:
        # Takes no lock and ends nothing: it is asked for in log lines and messages, under any lock.
        state = self._state.partition("_")[0].lower()
        if self._state == FINISHED:
            error = self._exception
            state += f" returned {type(self._result).__name__}" if error is None else f" raised {type(error).__name__}"
        return f"<{type(self).__name__} task_id={self.task_id!r} state={state}>"
