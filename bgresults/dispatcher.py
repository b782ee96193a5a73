""":class:`Dispatcher`: from a task's state to the futures that wait for it.

Runs on the drain thread, or in the thread that closes a watcher which has none.

Whatever a callback does, it hurts nobody else: what it raises is logged, be it ``SystemExit``; that it takes long is
logged once; and when it forks, the child, which *is* the drain thread then, leaves the loop at once, without a trace.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from bgresults.errors import WatcherError, WatchExpiredError
from bgresults.futures import ResultFuture
from bgresults.meta import READY_STATES, TaskMeta
from bgresults.pending import FutureRef
from bgresults.safe_logging import log_safely
from bgresults.session import ErrorFactory, Session
from bgresults.task_exceptions import exception_from
from bgresults.waits import Ending, Wait, tell

__all__ = ["Dispatcher", "SessionEnded"]

SLOW_CALLBACK = 0.1
_REMEMBERED_CALLBACKS = 1000
# Seconds for which the lock is away where a thread computes; who goes on to wait for another result needs it for less.
_LONG = 0.002
# How often in a row, since a machine has other things to do as well; and for how many seconds it is kept after that.
_IN_A_ROW = 3
_NO_MORE_FOR = 1.0
# Bound here: a program that is tested may have something else in its place for a while, which is not meant for this
# thread. Where everything is patched before anything is imported, it is that of the patch.
_sleep = time.sleep

_logger = logging.getLogger("bgresults")
# Where the standard library reports the same.
_futures_logger = logging.getLogger("concurrent.futures")


class SessionEnded(Exception):
    """The drain thread has nothing more to do: its session was closed, or this process is a forked child."""


class Dispatcher:
    """Resolves the futures of one session.

    Args:
        session: whose futures.
        lock: the leaf lock, on the drain thread: it was born in this process, and asks again after each callback. Any
            other thread may be forked by a signal handler, in the middle of this, and looks each time: None.
    """

    def __init__(self, session: Session, lock: threading.RLock | None = None) -> None:
        self._session = session
        self._pending = session.pending
        self._counters = session.counters
        self._lock = lock
        self._slow_callbacks: set[str] = set()
        # Those that somebody observes, and has not been told of yet.
        self._endings: list[Ending] = []
        # Whether a future has ended that somebody has waited for, as far as one can tell.
        self._woken = False
        # How often in a row the lock was away for long, and until when it is kept, on the clock of `time.monotonic`.
        self._long_away = 0
        self._keep_until = 0.0

    # -- states ------------------------------------------------------------------------------------------------------

    def on_state(self, task_id: str, raw: dict[str, Any]) -> None:
        """Pass on one state of a task: the consumer's callback."""
        status = raw["status"]
        if status not in READY_STATES:
            self._on_progress(task_id, raw)
            return
        refs = self._pending.take(task_id)
        if not refs:
            self._counters.late += 1
            return
        succeeded = status == "SUCCESS"
        for ref in refs:
            future = ref()
            if future is None:
                self._dropped(ref)
            elif succeeded:
                self._finish(ref, future, raw.get("result"), None, raw)
            else:
                self._finish(ref, future, None, exception_from(raw), raw)

    def on_error(self, task_id: str, error: WatcherError) -> None:
        """End the futures of an id whose state cannot be read, or will not come: the consumer's callback."""
        self.fail(self._pending.take(task_id), lambda: type(error)(*error.args))

    def _on_progress(self, task_id: str, raw: dict[str, Any]) -> None:
        futures = self._pending.futures(task_id)
        if not futures:
            self._counters.late += 1
        for future in futures:
            future._raw = raw
            if future._on_update is not None:
                self.run(future._on_update, TaskMeta.from_raw(raw), future)

    # -- errors ------------------------------------------------------------------------------------------------------

    def fail(self, refs: Iterable[FutureRef], make_error: ErrorFactory) -> None:
        """End futures that were taken out with an error each."""
        self._fail(refs, make_error)
        self.tell_endings()

    def fail_all(self, make_error: ErrorFactory) -> None:
        """End everything that is pending."""
        for task_id in self._pending.ids():
            self._fail(self._pending.take(task_id), make_error)
        self.tell_endings()

    def _fail(self, refs: Iterable[FutureRef], make_error: ErrorFactory) -> None:
        for ref in refs:
            future = ref()
            if future is None:
                self._dropped(ref)
            else:
                self._finish(ref, future, None, make_error())

    def expire(self, now: float) -> list[str]:
        """End the futures whose lifetime is over; returns their ids."""
        expired = self._pending.take_expired(now)
        for ref in expired:
            future = ref()
            if future is None:
                self._dropped(ref)
                continue
            error = WatchExpiredError(f"task {ref.task_id!r} did not end within the lifetime of the watch")
            self._finish(ref, future, None, error)
        self.tell_endings()
        return [ref.task_id for ref in expired]

    def tell_endings(self) -> None:
        """Tell whoever observes the waits that have ended: once for all that came together, a call for each is dear."""
        if self._endings:
            endings, self._endings = self._endings, []
            tell(endings)

    def let_them_run(self) -> None:
        """Hand the interpreter's lock to the threads that were woken.

        They are up within microseconds and ask for it while this thread is on its way to its next wait. Whoever finds
        it taken goes back to sleep, and to be woken twice takes longer than all the rest. Once for all that came
        together: they may keep it for a while, and would make the others wait. And not where somebody computes: it
        would come back after `sys.getswitchinterval()` only, each time.
        """
        if self._woken:
            self._woken = False
            # Whoever has a result may look at once what was measured of it.
            self.tell_endings()
            began = time.monotonic()
            if began >= self._keep_until:
                _sleep(0)
                self._long_away = self._long_away + 1 if time.monotonic() - began > _LONG else 0
                if self._long_away >= _IN_A_ROW:
                    self._keep_until = began + _NO_MORE_FOR

    # -- one future --------------------------------------------------------------------------------------------------

    def _dropped(self, ref: FutureRef) -> None:
        self._counters.dropped += 1
        if type(ref) is Wait:
            self._endings.append((ref, "dropped", None, None))

    def _finish(
        self,
        ref: FutureRef,
        future: ResultFuture,
        result: Any,
        exception: Exception | None,
        raw: dict[str, Any] | None = None,
    ) -> None:
        if raw is not None and future._on_update is not None:
            final = TaskMeta.from_raw(raw) if exception is None else TaskMeta.from_raw(raw, exception)
            self.run(future._on_update, final, future)
        if raw is not None:
            future._raw = raw
        callbacks = future._settle(result, exception, self._lock)
        self._pending.unpin(future)
        if future._cond is not None:
            self._woken = True
        if callbacks is None:
            # Cancelled, or finished from outside, after it was taken out for this.
            self._counters.cancelled += 1
            if type(ref) is Wait:
                self._endings.append((ref, "cancelled", None, None))
            return
        if exception is None:
            self._counters.resolved += 1
            outcome = "resolved"
        elif isinstance(exception, WatchExpiredError):
            self._counters.expired += 1
            outcome = "expired"
        else:
            self._counters.failed += 1
            outcome = "failed"
        if type(ref) is Wait:
            self._endings.append((ref, outcome, exception, raw))
        for callback in callbacks:
            self.run(callback, future, future)

    def run(self, callback: Callable[[Any], object], argument: Any, future: ResultFuture) -> None:
        """Call what a user has given us, on behalf of ``future``."""
        # It may take its time, which those that have ended did not wait for.
        self.tell_endings()
        started = time.monotonic()
        try:
            callback(argument)
        except BaseException as error:  # the thread serves everybody: no callback may end it
            if self._session.pid != os.getpid():
                raise SessionEnded from error
            self._counters.callback_errors += 1
            log_safely(
                _futures_logger,
                logging.ERROR,
                "exception calling callback for %r",
                future,
                error=error,
                event="callback_error",
                watcher=self._session.settings.name,
                task_id=future.task_id,
            )
        if self._session.pid != os.getpid():
            # The callback forked, and this is the child: the connection here is the parent's.
            raise SessionEnded
        taken = time.monotonic() - started
        if taken > SLOW_CALLBACK:
            self._warn_of_slow(callback, taken)

    def _warn_of_slow(self, callback: Callable[[Any], object], taken: float) -> None:
        name = _name_of(callback)
        if name not in self._slow_callbacks and len(self._slow_callbacks) < _REMEMBERED_CALLBACKS:
            self._slow_callbacks.add(name)
            log_safely(
                _logger,
                logging.WARNING,
                "callback %s took %.0f ms on the drain thread of watcher %r; other results wait meanwhile",
                name,
                taken * 1000,
                self._session.settings.name,
                event="slow_callback",
                watcher=self._session.settings.name,
                callback=name,
                seconds=taken,
            )


def _name_of(callback: Callable[[Any], object]) -> str:
    try:
        return f"{callback.__module__}.{callback.__qualname__}"
    except Exception:  # noqa: BLE001 - a callable object of the user's, with attributes of its own making
        return type(callback).__qualname__
