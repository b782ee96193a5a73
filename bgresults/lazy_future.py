""":class:`LazyFuture`: a standard future that costs little until somebody waits for it, and that survives a fork.

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
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any

from bgresults.conditions import Condition, TimedOut
from bgresults.errors import ForkedError, WouldDeadlockError
from bgresults.forking import generation, here, leaf_lock
from bgresults.ownership import FutureOwner

__all__ = ["DoneCallback", "LazyFuture"]

DoneCallback = Callable[[Any], object]

_ENDED = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})

# The standard library's own logger: who watches it for failing callbacks finds ours there as well.
_logger = logging.getLogger("concurrent.futures")


class LazyFuture(Future[Any]):
    """Everything about a future that has nothing to do with what it is a future of."""

    __slots__ = ("_cond", "_generation", "_owner")

    # The standard library sets these in __init__, which never runs here. What is still at its first value is read from
    # the class; the two sequences become lists together with the condition, without which nobody may add to them.
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    _owner: FutureOwner | None

    def __init__(self, owner: FutureOwner | None, known_generation: int | None = None) -> None:
        self._owner = owner
        # Whoever makes many looks once, see forking.here().
        self._generation = generation() if known_generation is None else known_generation
        self._cond: Condition | None = None

    # -- concurrent.futures.Future ---------------------------------------------------------------------------------

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
        return self._cancel(self._call)

    def _cancel(self, run: Callable[[DoneCallback], object]) -> bool:
        """Cancel; ``run`` calls a callback."""
        if self._state == FINISHED:
            return False
        condition = self._own_condition
        owner: FutureOwner | None = None
        claimed = False
        try:
            with condition.lock:
                if self._state in (RUNNING, FINISHED):
                    return False
                if self._state != PENDING:
                    return True
                owner = self._owner
                try:
                    if owner is not None:
                        owner._forget(self)
                except BaseException:
                    # A signal handler raised, perhaps before anything was done.
                    if owner is not None:
                        owner._forget(self)
                    raise
                finally:
                    # Once it is out of the registry nobody else would ever end it.
                    self._state = CANCELLED_AND_NOTIFIED
                    claimed = True
                    self._owner = None
                    self._wake_waiters_of_cancelled(condition)
            if owner is not None:
                owner._released(self)
        except BaseException:
            # A signal handler raised. An id that nobody waits for must not stay subscribed, and callbacks are due.
            if owner is not None:
                owner._released(self)
            for callback in self._done_callbacks if claimed else ():
                run(callback)
            raise
        for callback in self._done_callbacks:
            run(callback)
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn(future)`` when it ends: on the drain thread, or here and now if it has ended already.

        A pending future with a callback is kept alive by its watcher. A callback must be quick: results of other tasks
        wait meanwhile. What it raises is logged and hurts nobody.
        """
        self._append_callback(fn, pin=True)

    def set_result(self, result: Any) -> None:
        """Finish it from outside, as a test would; its id is no longer watched."""
        self._finish_by_hand(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """Finish it from outside with ``exception``; its id is no longer watched."""
        self._finish_by_hand(None, exception)

    # -- for the thread that resolves it ---------------------------------------------------------------------------

    def _settle(
        self, result: Any, exception: BaseException | None, lock: threading.RLock | None = None
    ) -> list[DoneCallback] | None:
        """End it; return the callbacks that the caller has to run now, or None if it had ended before.

        The claim is atomic against :meth:`cancel` and against a first waiter: without a condition through the leaf
        lock, under which the condition is made; with one through that condition.

        Args:
            result: None if there is an exception.
            exception: None if there is a result.
            lock: the leaf lock, from whoever knows it: this future was made in the same process, and so was that lock.
        """
        with leaf_lock() if lock is None else lock:
            condition = self._cond
            if condition is None:
                if self._state != PENDING:
                    return None
                owner = self._store(result, exception)
                return []
        if lock is None:
            condition = self._own_condition
        with condition.lock:
            if self._state in _ENDED:
                return None
            owner = self._store(result, exception)
            try:
                for waiter in self._waiters:
                    if exception is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
            finally:
                # Also when a signal handler raised: settled once, it will not be again.
                condition.notify_all()
            callbacks = list(self._done_callbacks)
        # The last reference to a watcher may go here: outside of both locks.
        del owner
        return callbacks

    def _store(self, result: Any, exception: BaseException | None) -> FutureOwner | None:
        """Write the outcome, the state last, since it is read without a lock. Returns the owner it lets go of."""
        self._result = result
        self._exception = exception
        owner, self._owner = self._owner, None
        self._state = FINISHED
        return owner

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _own_condition(self) -> Condition:
        process = here()
        condition = self._cond
        if condition is None or self._generation != process.generation:
            condition = self._make_condition(process.generation, process.lock)
        return condition

    if not TYPE_CHECKING:
        # Where wait() and as_completed() look for it. To type checkers it is what the standard library says, an
        # attribute: a property would not be taken for one, nor would those two take these futures.

        @property
        def _condition(self):
            return self._own_condition

        @_condition.setter
        def _condition(self, condition):
            # Future.__init__() does so, with a new one.
            self._cond = Condition()

    def _make_condition(self, current: int, lock: threading.RLock) -> Condition:
        """Of the process of this generation, whose leaf lock is given."""
        fresh = Condition()
        with lock:
            inherited = self._generation != current
            condition = self._cond
            if condition is None or inherited:
                self._waiters = []
                self._done_callbacks = []
                self._cond = condition = fresh
            if inherited:
                self._owner = None
                if self._state not in _ENDED:
                    self._result = None
                    self._exception = ForkedError(
                        f"{self!r} was made before a fork; call watch() again in the child process"
                    )
                    self._state = FINISHED
                # Last: until all of it is true, the next touch does it again.
                self._generation = current
        return condition

    def _current_state(self) -> str:
        if self._state not in _ENDED:
            process = here()
            if self._generation != process.generation:
                self._make_condition(process.generation, process.lock)
        return self._state

    def _outcome(self, timeout: float | None) -> BaseException | None:
        """Wait for the end; return the exception, or None if there is a result."""
        if self._state not in _ENDED:
            self._wait(timeout)
        if self._state != FINISHED:
            raise CancelledError
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        condition = self._own_condition
        with condition.lock:
            if self._state not in _ENDED:
                if timeout is None or timeout > 0:
                    self._refuse_to_block()
                condition.wait(timeout)
            ended = self._state in _ENDED
        # Out here: between an exception and the release of the lock, Python 3.10 may handle a signal.
        if not ended:
            raise TimedOut

    def _refuse_to_block(self) -> None:
        """Raise if the caller's thread must not wait for the end of this future, which is pending."""
        owner = self._owner
        if owner is not None and owner._on_drain_thread():
            raise WouldDeadlockError(
                f"{self!r} was waited for in a callback: only the thread that runs this callback can deliver it; "
                "use add_done_callback() instead, or wait in another thread"
            )

    def _append_callback(self, fn: DoneCallback, *, pin: bool) -> None:
        """Have ``fn`` called at the end; ``pin``: and be kept alive for that until then."""
        if self._state not in _ENDED:
            with self._own_condition.lock:
                if self._state not in _ENDED:
                    self._done_callbacks.append(fn)
                    # Under the condition: a resolving thread unpins after it held the condition, hence after this.
                    owner = self._owner
                    if pin and owner is not None:
                        owner._pin(self)
                    return
        self._call(fn)

    def _wake_waiters_of_cancelled(self, condition: threading.Condition) -> None:
        """The second step of the standard library's cancellation; the condition is held.

        No executor will come along to do it, and without it wait() and as_completed() would not wake.
        """
        try:
            for waiter in self._waiters:
                waiter.add_cancelled(self)
        finally:
            condition.notify_all()

    def _call(self, callback: DoneCallback) -> None:
        """Call a callback in a thread of the user's, as the standard library does: it is not the caller's fault."""
        try:
            callback(self)
        except Exception:
            _logger.exception("exception calling callback for %r", self)

    def _finish_by_hand(self, result: Any, exception: BaseException | None) -> None:
        # In a forked child this ends an inherited future, which has no owner then.
        self._current_state()
        owner = self._owner
        try:
            if owner is not None:
                owner._forget(self)
            callbacks = self._settle(result, exception)
            if owner is not None:
                owner._released(self)
        except BaseException:
            # A signal handler raised, somewhere in there: all of it once more.
            if owner is not None:
                owner._forget(self)
            self._settle(result, exception)
            if owner is not None:
                owner._released(self)
            raise
        if callbacks is None:
            raise InvalidStateError(f"{self._state}: {self!r}")
        for callback in callbacks:
            self._call(callback)
