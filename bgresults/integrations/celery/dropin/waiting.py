""":class:`Wait`: one call of ``get()`` or ``join()``, in the thread that called.

Each result that is waited for has a future of the watcher's. The thread that waits is the one that decodes exceptions,
keeps Celery's promises and calls ``on_message``: the drain thread only says that something has come.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from celery import states
from vine import promise

from bgresults.errors import ForkedError, NotWatchableError
from bgresults.forking import generation
from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.integrations.celery.dropin.fulfilling import fulfil, is_fulfilled
from bgresults.integrations.celery.dropin.unfinished import known_unfinished
from bgresults.meta import READY_STATES, TaskMeta

__all__ = ["Wait", "WatchIds", "final_state"]

#: Watches ids, for as long as the futures are referred to.
WatchIds = Callable[[Sequence[str], "UpdateCallback | None"], Sequence[ResultFuture]]

# Seconds between two calls of on_interval, as with Celery's own drainers.
_INTERVAL: Final = 1.0


class Wait:
    """See the module's text.

    Args:
        watch: watches ids.
        results: of single tasks, to be waited for.
        steps: of tasks that come before them; their end is told by ``on_interval``.
        on_interval: called every second, and whenever something has come.
        on_message: called with every state of ``results``, as Celery's backend decodes it; None for nobody.
    """

    def __init__(
        self,
        watch: WatchIds,
        results: Sequence[Any],
        *,
        steps: Sequence[Any] = (),
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self._watch = watch
        # By identity: two results of one task are equal, and each of them has to be told.
        self._open = {id(result): result for result in results}
        self._steps = [step for step in steps if not is_fulfilled(step)]
        self._on_interval = None if on_interval is None or _does_nothing(on_interval) else on_interval
        self._on_message = on_message

    def arrivals(self, timeout: float | None) -> Iterator[Any]:
        """Yield the results as they come, each of them fulfilled.

        Args:
            timeout: seconds for all of them; None for no limit.

        Raises:
            TimeoutError: it was not enough.
            WatcherError: waiting for one of them went wrong.
            Whatever ``on_interval`` and ``on_message`` raise.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            try:
                if len(self._open) == 1 and not self._steps and self._on_message is None:
                    result = next(iter(self._open.values()))
                    self._one(result, deadline)
                    yield result
                else:
                    yield from self._many(deadline)
            except ForkedError:
                # Forked in a callback, and this is the child: its own watcher knows nothing of what was asked for.
                continue

    def only_one(self, timeout: float | None) -> None:
        """:meth:`arrivals` of a single result of which nothing but the end matters, without going round in circles."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for result in list(self._open.values()):
            while self._open:
                try:
                    self._one(result, deadline)
                except ForkedError:
                    continue

    # -- inside ------------------------------------------------------------------------------------------------------

    def _one(self, result: Any, deadline: float | None) -> None:
        """The cheap and common case: nothing but the end of one task matters."""
        (future,) = self._watch([result.id], None)
        while True:
            try:
                future.exception(self._patience(deadline))
                break
            except FutureTimeoutError:
                _check(deadline)
                self._tick()
        self._settled(result, future)
        self._tick()

    def _many(self, deadline: float | None) -> Iterator[Any]:
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            steps = self._follow(self._steps, arrived.put, None)
        except NotWatchableError:
            # One of them replies to somebody else. This one may come all the same.
            steps = {}
        futures = self._follow(self._open.values(), arrived.put, arrived.put if self._on_message is not None else None)
        born = generation()
        while self._open:
            try:
                # A forked child finds out by itself that nothing will ever come here.
                patience = self._patience(deadline)
                item = arrived.get(timeout=_INTERVAL if patience is None else min(patience, _INTERVAL))
            except queue.Empty:
                _check(deadline)
                self._tick()
            else:
                if isinstance(item, TaskMeta):
                    self._message(item.raw)
                elif item in steps:
                    self._step_ended(steps.pop(item), item)
                elif item in futures:
                    result = futures.pop(item)
                    self._settled(result, item)
                    # A step before may have failed, of which nobody has heard yet: then that is the error to raise.
                    self._tick(ask=result.state in states.PROPAGATE_STATES)
                    yield result
            if generation() != born:
                raise ForkedError("forked while waiting")

    def _follow(
        self, results: Iterable[Any], tell: Callable[[Any], object], on_update: UpdateCallback | None
    ) -> dict[ResultFuture, Any]:
        wanted = list(results)
        if not wanted:
            return {}
        futures = self._watch([result.id for result in wanted], on_update)
        for future in futures:
            # Held here, so it need not be kept alive for the callback.
            future._append_callback(tell, pin=False)
        return dict(zip(futures, wanted, strict=True))

    def _settled(self, result: Any, future: ResultFuture) -> None:
        """Fulfil a result whose future has ended, or raise why there is nothing to fulfil it with."""
        raw = final_state(future)
        if raw is None:
            error = future.exception(0)
            assert error is not None
            raise error
        del self._open[id(result)]
        fulfil(result, raw)

    def _step_ended(self, step: Any, future: ResultFuture) -> None:
        raw = final_state(future)
        self._steps = [other for other in self._steps if other is not step]
        if raw is None:
            # That this went wrong says nothing about the task that is waited for.
            return
        fulfil(step, raw)
        if raw["status"] in states.PROPAGATE_STATES:
            self._tick()

    def _message(self, raw: Mapping[str, Any]) -> None:
        if self._on_message is not None and self._open:
            backend = next(iter(self._open.values())).backend
            self._on_message(backend.meta_from_decoded(dict(raw)))

    def _tick(self, *, ask: bool = False) -> None:
        if self._on_interval is not None:
            # Celery looks at every step before, and would ask the server, in each thread that waits.
            with known_unfinished(() if ask else [step.id for step in self._steps]):
                self._on_interval()

    def _patience(self, deadline: float | None) -> float | None:
        """Seconds until there is something to do even if nothing comes; None: nothing."""
        # No lock takes more, and what is infinite is not over then.
        remaining = None if deadline is None else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
        if self._on_interval is None:
            return remaining
        return _INTERVAL if remaining is None else min(remaining, _INTERVAL)


def final_state(future: ResultFuture) -> Mapping[str, Any] | None:
    """The final state that ended a future; None if something else did."""
    raw = future._raw
    return raw if raw is not None and raw["status"] in READY_STATES else None


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise FutureTimeoutError


def _does_nothing(on_interval: Any) -> bool:
    """Whether it is a promise without a function and without anybody behind it, as ``get()`` makes one every time."""
    return (
        isinstance(on_interval, promise)
        and on_interval.fun is None
        and getattr(on_interval, "_svpending", on_interval) is None
        and not getattr(on_interval, "_lvpending", on_interval)
    )
