""":class:`ResultConsumer`: Celery's interface to results that arrive, over the background thread.

It has no connection and subscribes to nothing. Every backend object of an application, each in its thread or all in
one, waits on the application's one watcher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from celery.backends.asynchronous import BaseResultConsumer, Drainer
from celery.exceptions import TimeoutError as CeleryTimeoutError

from bgresults.errors import ForkedError, WatcherClosedError, WatchExpiredError
from bgresults.forking import generation
from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.integrations.celery.dropin.fulfilling import fulfil, is_fulfilled, is_set
from bgresults.integrations.celery.dropin.futures import DropInFuture
from bgresults.integrations.celery.dropin.waiting import Wait, final_state
from bgresults.integrations.celery.groups import leaves_of
from bgresults.integrations.celery.registry import open_watcher
from bgresults.lifetimes import DEFAULT_LIFETIME
from bgresults.task_ids import task_id_of

if TYPE_CHECKING:
    from bgresults.integrations.celery.watcher import CeleryResultWatcher

__all__ = ["RPCResultConsumer", "ResultConsumer"]

_Base: Any = BaseResultConsumer


class ResultConsumer(_Base):  # type: ignore[misc]  # Celery has no types
    """See the module's text. Any thread, and a forked child."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not the one of a greenlet of its own, which would drain for itself.
        self.drainer = Drainer(self)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._generation = generation()
        # id() of results that somebody has called then() on → themselves and their future.
        self._followed: dict[int, tuple[Any, ResultFuture]] = {}
        # What was asked for through Celery's own interface.
        self._consumed: dict[str, ResultFuture] = {}

    def _here(self) -> ResultConsumer:
        if self._generation != generation():
            self._begin_anew()
        return self

    @property
    def watcher(self) -> CeleryResultWatcher:
        """The application's, a new one if that was closed."""
        return open_watcher(self.app)

    # -- what the backend asks ---------------------------------------------------------------------------------------

    def follow(self, result: Any) -> None:
        """Fulfil a result when its task ends, whether or not anybody waits; on the drain thread, unless it is here."""
        followed = self._here()._followed
        if is_fulfilled(result) or id(result) in followed:
            return
        (future,) = self._watch([result.id], None, forever=False)

        def ended(_: Any) -> None:
            followed.pop(id(result), None)
            if (raw := final_state(future)) is not None:
                fulfil(result, raw)
            elif (error := _worth_telling(future)) is not None:
                result.throw(error)

        try:
            followed[id(result)] = (result, future)
            future.add_done_callback(ended)
        except BaseException:
            # A signal handler raised: what calls nobody must not keep the next then() from following it.
            self.forget(result)
            raise

    def forget(self, result: Any) -> None:
        """Follow it no more. Also in the garbage collector, inside any lock."""
        if not self._followed or self._generation != generation():
            return
        _, future = self._followed.pop(id(result), (None, None))
        if future is not None and not future.done():
            self.watcher._abandoned(future)

    def iterate(
        self,
        nodes: Sequence[Any],
        timeout: float | None = None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> Iterator[Any]:
        """Yield the members of a group as they end; one that is a group itself when all of its members have.

        Raises:
            celery.exceptions.TimeoutError: ``timeout`` seconds were not enough for all of them.
            WatcherError: waiting for one of them went wrong.
        """
        missing: dict[int, int] = {}
        owners: dict[int, list[Any]] = {}
        results: list[Any] = []
        for node in nodes:
            # Asked once: another thread may fulfil any of them at any moment.
            leaves = _unfulfilled(node)
            missing[id(node)] = len(leaves)
            results.extend(leaves)
            for leaf in leaves:
                owners.setdefault(id(leaf), []).append(node)
        yield from (node for node in nodes if not missing[id(node)])
        for result in self._wait(results, [], timeout, on_interval, on_message):
            for node in owners[id(result)]:
                missing[id(node)] -= 1
                if not missing[id(node)]:
                    yield node

    def wait(
        self,
        result: Any,
        timeout: float | None = None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        **kwargs: Any,
    ) -> None:
        """Return when ``result``, of one task or of many, is complete.

        Raises:
            As :meth:`iterate`.
        """
        simple = on_message is None and not is_set(result) and result.parent is None
        if not simple or self._has_to_ask(timeout):
            for _ in self._wait_for_pending(result, timeout, on_interval, on_message):
                pass
            return
        try:
            Wait(self._watch, () if is_fulfilled(result) else (result,), on_interval=on_interval).only_one(timeout)
        except FutureTimeoutError:
            raise CeleryTimeoutError("The operation timed out.") from None

    def _has_to_ask(self, timeout: float | None) -> bool:
        """Not to wait, means to ask. And what a worker joins in a chord is stored: no thread is needed to read it."""
        return (timeout is not None and timeout <= 0) or self.app.current_worker_task is not None

    def _wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        **kwargs: Any,
    ) -> Iterator[None]:
        """Celery's: yields whenever something has come, until ``result``, of one task or of many, is complete."""
        steps = [] if is_set(result) else _steps_before(result)
        for _ in self._wait(_unfulfilled(result), steps, timeout, on_interval, on_message):
            yield

    def _wait(
        self,
        results: Sequence[Any],
        steps: Sequence[Any],
        timeout: float | None,
        on_interval: Callable[[], object] | None,
        on_message: Callable[[dict[str, Any]], object] | None,
    ) -> Iterator[Any]:
        open_results = {id(result): result for result in results}
        if self._has_to_ask(timeout):
            self.backend.read_states(open_results.values())
            # Here too: what ends while the caller has another one in hand has to be waited for.
            for ended in [result for result in open_results.values() if is_fulfilled(result)]:
                del open_results[id(ended)]
                yield ended
        waiting = Wait(
            self._watch, list(open_results.values()), steps=steps, on_interval=on_interval, on_message=on_message
        )
        try:
            yield from waiting.arrivals(timeout)
        except FutureTimeoutError:
            raise CeleryTimeoutError("The operation timed out.") from None

    def _watch(
        self, task_ids: Sequence[str], on_update: UpdateCallback | None, *, forever: bool = True
    ) -> list[ResultFuture]:
        """Watch ids: for as long as somebody holds the futures, or for the lifetime that the watcher has by default."""
        watcher = self.watcher
        watcher._configure()
        deadline = None if forever else watcher._deadline(DEFAULT_LIFETIME)
        keys = [task_id_of(task_id) for task_id in task_ids]
        watcher._router.refuse_elsewhere(keys)
        return watcher._watch_as(DropInFuture, keys, deadline, on_update)

    # -- Celery's interface ------------------------------------------------------------------------------------------

    def start(self, initial_task_id: str, **kwargs: Any) -> None:
        self.consume_from(initial_task_id)

    def stop(self) -> None:
        """The watcher is the application's, and may be used by others: ``from_celery(app).close()`` closes it."""
        self._here()._consumed.clear()

    def consume_from(self, task_id: str) -> None:
        consumed = self._here()._consumed
        if task_id not in consumed:
            (consumed[task_id],) = self._watch([task_id], None)

    def cancel_for(self, task_id: str) -> None:
        here = self._here()
        here._consumed.pop(task_id, None)
        # Few, if any: those that somebody has called then() on.
        for result, future in list(here._followed.values()):
            if future.task_id == task_id:
                self.forget(result)

    def drain_events(self, timeout: float | None = None) -> None:
        """Pass on what has come of the ids that were asked for one by one; wait at most ``timeout`` seconds."""
        consumed = self._here()._consumed
        futures = {future: task_id for task_id, future in list(consumed.items())}
        if not futures:
            time.sleep(timeout or 0.0)
        done, _ = wait(list(futures), timeout, FIRST_COMPLETED)
        if not done:
            self._nothing_came()
        for future in done:
            assert isinstance(future, ResultFuture)
            consumed.pop(futures[future], None)
            if (raw := final_state(future)) is not None:
                self.on_state_change(self.backend.meta_from_decoded(dict(raw)), None)
            elif (error := _worth_telling(future)) is not None:
                raise error

    def _nothing_came(self) -> None:
        """As the consumer has it whose place this one takes: the one for Redis says nothing."""

    def on_after_fork(self) -> None:
        self._begin_anew()


class RPCResultConsumer(ResultConsumer):
    """:class:`ResultConsumer` in the place of the one for rpc."""

    def _nothing_came(self) -> None:
        raise TimeoutError("no message came in time")


def _unfulfilled(node: Any) -> list[Any]:
    return [leaf for leaf in leaves_of(node) if not is_fulfilled(leaf)]


def _steps_before(result: Any) -> list[Any]:
    """The results of the tasks that come before that of a single result."""
    found: list[Any] = []
    step = result.parent
    while step is not None:
        found.extend(leaves_of(step))
        step = step.parent
    return found


def _worth_telling(future: ResultFuture) -> BaseException | None:
    """Why it ended without a state, if that is about its task, and not about us who stopped to look."""
    try:
        error = future.exception(0)
    except (CancelledError, FutureTimeoutError):
        return None
    return None if isinstance(error, (ForkedError, WatcherClosedError, WatchExpiredError)) else error
