""":class:`StateStream`: the states of one task as an iterator."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.meta import READY_STATES, TaskMeta

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StateStream"]

_END = object()


def _put(states: queue.SimpleQueue[Any], state: TaskMeta, keep: int) -> None:
    """Put a state in; make room for it first."""
    while states.qsize() >= keep:
        try:
            states.get_nowait()
        except queue.Empty:
            break
    states.put(state)


class StateStream(Iterator[TaskMeta]):
    """Yields the states of a task as they come and ends after the final one.

    One thread iterates. The watch began when the stream was made, so no state is missed before the first ``next()``.
    Closing or dropping the stream ends the watch. ``with watcher.updates(task_id) as states:`` closes it in any case.
    """

    # Until there is something to end.
    _ended = True

    def __init__(
        self,
        watch: Callable[[UpdateCallback], ResultFuture],
        timeout: float | None,
        release: Callable[[ResultFuture], None],
        *,
        keep: int | None = None,
    ) -> None:
        """``keep``: states that may wait here to be taken, of more the oldest go; None for any number of them."""
        self._timeout = timeout
        self._release = release
        # The callbacks know the queue and not the stream: a pinned future must not keep the stream alive, or dropping
        # the stream would end nothing.
        states: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._states = states
        self._future = watch(states.put if keep is None else lambda state: _put(states, state, keep))
        # At once: a signal handler may raise in the next call.
        self._ended = False
        self._future.add_done_callback(lambda _future: states.put(_END))

    def __iter__(self) -> StateStream:
        return self

    def __next__(self) -> TaskMeta:
        """Wait for the next state.

        Raises:
            StopIteration: the final state was yielded before, or the stream was closed.
            TimeoutError: no state came for ``timeout`` seconds; the stream can be asked again.
            WatcherError: waiting itself went wrong.
            WouldDeadlockError: asked for in a callback, while the task goes on.
        """
        while True:
            state = self.next_within(self._timeout)
            if state is not None:
                return state

    def next_within(self, timeout: float | None) -> TaskMeta | None:
        """Wait for the next state, ``timeout`` seconds at most; None after a :meth:`nudge`. Raises as :func:`next`."""
        if self._ended:
            raise StopIteration
        if not self._future.done():
            self._future._refuse_to_block()
        # Asked in this order: what came before the end was put in before the end. It is asked at all because in a
        # forked child nobody will ever put the end in; there the question itself ends the future.
        item: Any = _END if self._future.done() and self._states.empty() else self._next_item(timeout)
        if item is not _END:
            state: TaskMeta | None = item
            return state
        self._ended = True
        if not self._future.cancelled():
            error = self._future.exception(timeout=0)
            # What the task raised was yielded already, as the result of its final state.
            if error is not None and self._future.status not in READY_STATES:
                raise error
        raise StopIteration

    def _next_item(self, timeout: float | None) -> Any:
        try:
            return self._states.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(
                f"no state of task {self._future.task_id!r} came for {timeout:g} s"  # None cannot time out
            ) from None

    @property
    def nudge(self) -> Callable[[], None]:
        """A function that has :meth:`next_within` return None once. Any thread; it does not keep the stream."""
        states = self._states
        return lambda: states.put(None)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._ended = True
        self._future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # May run in the garbage collector, inside any lock: leave the cancelling to the drain thread.
        if not self._ended:
            self._release(self._future)
