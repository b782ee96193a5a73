""":class:`ResultFuture`: a ``concurrent.futures.Future`` that a drain thread resolves.

It behaves as the standard one does, and differs inside for two reasons.

*Ten thousand of them must be cheap.* Most futures are resolved before anybody waits for them, or are asked once, when
they are done. The condition variable of a standard future is most of its memory and of its making, so here it is
made when somebody first needs it. Making it and resolving a future that has none exclude each other through the
leaf lock; from then on the condition's own lock decides, as in the standard library.

*A forked child inherits them.* The thread that would have resolved them does not exist there, and may have
locked their conditions for ever. Every future remembers the process generation it was made in; the first touch in
another one gives it a fresh condition and, if it was pending, ends it with :class:`~bgresults.errors.ForkedError`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any

from bgresults.errors import ForkedError, WouldDeadlockError
from bgresults.forking import generation, leaf_lock
from bgresults.meta import TaskMeta
from bgresults.ownership import FutureOwner

__all__ = ["ResultFuture", "UpdateCallback"]

UpdateCallback = Callable[[TaskMeta], object]
DoneCallback = Callable[["ResultFuture"], object]

_ENDED = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})

# The standard library's own logger: who watches it for failing callbacks finds ours there as well.
_logger = logging.getLogger("concurrent.futures")


class ResultFuture(Future[Any]):
    """The result of one task, sooner or later.

    Everything that ``concurrent.futures.Future`` documents holds, from any thread. ``wait()``, ``as_completed()`` and
    ``asyncio.wrap_future()`` take it as it is. Beyond that:

    * ``result()`` and ``exception()`` raise :class:`~bgresults.errors.WouldDeadlockError` when they would have to wait
      on the drain thread, that is in a callback. ``concurrent.futures.wait()`` and ``as_completed()`` cannot be guarded
      like that: do not call them in a callback.
    * A task that raised ``TimeoutError`` looks like a ``result()`` that timed out; ``done()`` tells them apart.
    * :meth:`cancel` stops *watching*. The task itself goes on; revoking it is a matter for Celery.

    A future is held weakly by its watcher: one that nobody refers to, and that has no callback, is dropped and its
    subscription ends.
    """

    __slots__ = ("_cond", "_generation", "_on_update", "_owner", "_raw", "task_id")

    # The standard library sets these in __init__, which never runs here. What is still at its first value is read from
    # the class; the two sequences become lists together with the condition, without which nobody may add to them.
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    task_id: str
    _owner: FutureOwner | None
    _raw: Mapping[str, Any] | None

    def __init__(self, task_id: str, owner: FutureOwner | None, on_update: UpdateCallback | None = None) -> None:
        self.task_id = task_id
        self._owner = owner
        self._on_update = on_update
        self._generation = generation()
        self._cond: threading.Condition | None = None
        self._raw = None

    # -- what is known of the task ---------------------------------------------------------------------------------

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

    # -- concurrent.futures.Future ---------------------------------------------------------------------------------

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

    def done(self) -> bool:
        """Return whether it has ended: result, exception or cancellation."""
        return self._current_state() in _ENDED

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self._current_state() in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Return whether somebody called ``set_running_or_notify_cancel()`` on it; this library does not."""
        return self._current_state() == RUNNING

    def cancel(self) -> bool:
        """Stop watching and end as cancelled, here and now; False if it has ended or is running.

        Only the watching stops. The task is not revoked: a worker will still run it.
        """
        if self._state == FINISHED:
            return False
        condition = self._condition
        with condition:
            if self._state in (RUNNING, FINISHED):
                return False
            if self._state != PENDING:
                return True
            owner, self._owner = self._owner, None
            if owner is not None:
                owner._forget(self)
            # Both steps of the standard library's cancellation at once: no executor will come along to do the second,
            # and without it wait() and as_completed() would not wake.
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            condition.notify_all()
        if owner is not None:
            owner._released(self)
        for callback in self._done_callbacks:
            self._call(callback)
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn(future)`` when it ends: on the drain thread, or here and now if it has ended already.

        A pending future with a callback is kept alive by its watcher. A callback must be quick: results of other tasks
        wait meanwhile. What it raises is logged and hurts nobody.
        """
        if self._state not in _ENDED:
            with self._condition:
                if self._state not in _ENDED:
                    self._done_callbacks.append(fn)
                    # Under the condition: a resolving thread unpins after it held the condition, hence after this.
                    if self._owner is not None:
                        self._owner._pin(self)
                    return
        self._call(fn)

    def set_result(self, result: Any) -> None:
        """Finish it from outside, as a test would; its id is no longer watched."""
        self._detach()
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Finish it from outside with ``exception``; its id is no longer watched."""
        self._detach()
        super().set_exception(exception)

    def __repr__(self) -> str:
        state = self._current_state().partition("_")[0].lower()
        if self._state == FINISHED:
            exception = self._exception
            state += f" raised {type(exception).__name__}" if exception else f" returned {type(self._result).__name__}"
        return f"<{type(self).__name__} task_id={self.task_id!r} state={state}>"

    # -- for the thread that resolves it ---------------------------------------------------------------------------

    def _settle(
        self, result: Any, exception: BaseException | None, raw: Mapping[str, Any] | None = None
    ) -> list[DoneCallback] | None:
        """End it; return the callbacks that the caller has to run now, or None if it had ended before.

        The claim is atomic against :meth:`cancel` and against a first waiter: without a condition through the leaf
        lock, under which the condition is made; with one through that condition.
        """
        with leaf_lock():
            if self._cond is None:
                if self._state != PENDING:
                    return None
                owner = self._store(result, exception, raw)
                return []
        condition = self._condition
        with condition:
            if self._state in _ENDED:
                return None
            owner = self._store(result, exception, raw)
            for waiter in self._waiters:
                if exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            condition.notify_all()
            callbacks = list(self._done_callbacks)
        # The last reference to a watcher may go here: outside of both locks.
        del owner
        return callbacks

    def _store(self, result: Any, exception: BaseException | None, raw: Mapping[str, Any] | None) -> FutureOwner | None:
        """Write the outcome, the state last, since it is read without a lock. Returns the owner it lets go of."""
        self._result = result
        self._exception = exception
        if raw is not None:
            self._raw = raw
        self._on_update = None
        owner, self._owner = self._owner, None
        self._state = FINISHED
        return owner

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _condition(self) -> threading.Condition:
        condition = self._cond
        if condition is None or self._generation != generation():
            condition = self._make_condition()
        return condition

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        # The standard library's types say that it can be set, and Future.__init__() does so.
        self._cond = condition

    def _make_condition(self) -> threading.Condition:
        current = generation()
        fresh = threading.Condition()
        with leaf_lock():
            inherited = self._generation != current
            condition = self._cond
            if condition is None or inherited:
                self._waiters = []
                self._done_callbacks = []
                self._cond = condition = fresh
            if inherited:
                self._generation = current
                self._owner = None
                self._on_update = None
                if self._state not in _ENDED:
                    self._result = None
                    self._exception = ForkedError(
                        f"the future of task {self.task_id!r} was made before a fork; "
                        "call watch() again in the child process"
                    )
                    self._state = FINISHED
        return condition

    def _current_state(self) -> str:
        if self._state not in _ENDED and self._generation != generation():
            self._make_condition()
        return self._state

    def _outcome(self, timeout: float | None) -> BaseException | None:
        """Wait for the end; return the exception, or None if there is a result."""
        if self._state not in _ENDED:
            self._wait(timeout)
        if self._state != FINISHED:
            raise CancelledError
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        condition = self._condition
        with condition:
            if self._state in _ENDED:
                return
            if self._owner is not None and self._owner._on_drain_thread():
                if timeout is not None and timeout <= 0:
                    raise FutureTimeoutError
                raise WouldDeadlockError(
                    f"result of task {self.task_id!r} asked for in a callback: only the thread that runs this callback "
                    "can deliver it; use add_done_callback() instead, or wait in another thread"
                )
            condition.wait(timeout)
            if self._state not in _ENDED:
                raise FutureTimeoutError

    def _call(self, callback: DoneCallback) -> None:
        """Call a callback in a thread of the user's, as the standard library does: it is not the caller's fault."""
        try:
            callback(self)
        except Exception:
            _logger.exception("exception calling callback for %r", self)

    def _detach(self) -> None:
        owner = self._owner
        if owner is not None:
            self._owner = None
            owner._forget(self)
            owner._released(self)
