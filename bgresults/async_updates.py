""":class:`AsyncStateStream`: the states of one task as an asynchronous iterator.

The drain thread puts states into a mailbox and wakes the event loop that the stream belongs to; that takes them out. No
thread waits for a stream, however many there are.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.meta import READY_STATES, TaskMeta

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncStateStream"]


class _Mailbox:
    """Between the drain thread, which puts in, and the thread of an event loop, which takes out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, keep: int | None) -> None:
        self.states: deque[TaskMeta] = deque(maxlen=keep)
        #: Nothing more will be put in.
        self.ended = False
        #: Somebody wants whoever waits to look around.
        self.nudged = False
        self._loop = loop
        self._wake_is_due = False
        # Of the loop's thread alone.
        self._waiter: asyncio.Future[None] | None = None

    def put(self, state: TaskMeta) -> None:
        self.states.append(state)
        self._wake()

    def end(self, _future: object) -> None:
        self.ended = True
        self._wake()

    def nudge(self) -> None:
        self.nudged = True
        self._wake()

    def _wake(self) -> None:
        # Put in first, asked second; _deliver() does it the other way round. So whatever is put in is either seen by
        # the wake that is due already, or has one of its own. Two at a time do no harm.
        if self._wake_is_due:
            return
        self._wake_is_due = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # The loop is closed: nobody will ever take anything out, and the drain thread has others to serve.
            pass

    def _deliver(self) -> None:
        self._wake_is_due = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float | None) -> bool:
        """Wait until there is a state, a nudge or the end; False if ``timeout`` seconds were not enough."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this stream of states belongs to another event loop: iterate where aupdates() was called"
            )
        if self._waiter is not None:
            raise RuntimeError("another coroutine is waiting for the next state of this stream")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self.states and not self.ended and not self.nudged:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return False
                # A new one each time: what woke the last one may have been taken out before.
                self._waiter = self._loop.create_future()
                await asyncio.wait((self._waiter,), timeout=remaining)
        finally:
            self._waiter = None
        return True


class AsyncStateStream(AsyncIterator[TaskMeta]):
    """Yields the states of a task as they come and ends after the final one.

    Belongs to the event loop in which it was made; one coroutine iterates. The watch began when the stream was made, so
    no state is missed before the first ``await``. Closing or dropping the stream ends the watch, and so does cancelling
    the task that iterates over it, unless somebody still holds the stream: then it can be asked again.

    ``async with watcher.aupdates(task_id) as states:`` closes it in any case.
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
        # As in StateStream: the callbacks must not know the stream, or dropping it would end nothing.
        mailbox = _Mailbox(asyncio.get_running_loop(), keep)
        self._mailbox = mailbox
        self._future = watch(mailbox.put)
        # At once: a signal handler may raise in the next call.
        self._ended = False
        self._future.add_done_callback(mailbox.end)

    def __aiter__(self) -> AsyncStateStream:
        return self

    async def __anext__(self) -> TaskMeta:
        """Wait for the next state.

        Raises:
            StopAsyncIteration: the final state was yielded before, or the stream was closed.
            TimeoutError: no state came for ``timeout`` seconds; the stream can be asked again.
            WatcherError: waiting itself went wrong.
            RuntimeError: asked in another event loop, or by two coroutines at once.
        """
        try:
            while True:
                state = await self.next_within(self._timeout)
                if state is not None:
                    return state
        finally:
            # A task that was cancelled keeps this frame, in a traceback: it must not keep the stream as well.
            del self

    async def next_within(self, timeout: float | None) -> TaskMeta | None:
        """Wait for the next state, ``timeout`` seconds at most; None after a :meth:`nudge`. Raises as :func:`anext`."""
        try:
            if self._ended:
                raise StopAsyncIteration
            mailbox = self._mailbox
            states = mailbox.states
            # In a forked child nobody will ever put the end in; there the question itself ends the future.
            if not states and not self._future.done() and not await mailbox.wait(timeout):
                raise TimeoutError(
                    f"no state of task {self._future.task_id!r} came for {timeout:g} s"  # None cannot time out
                )
            nudged, mailbox.nudged = mailbox.nudged, False
            # What came before the end was put in before the end.
            if states and not self._ended:
                return states.popleft()
            if nudged and not self._future.done():
                return None
            self._ended = True
            if not self._future.cancelled():
                error = self._future.exception(timeout=0)
                # What the task raised was yielded already, as the result of its final state.
                if error is not None and self._future.status not in READY_STATES:
                    raise error
            raise StopAsyncIteration
        finally:
            # As above.
            del self

    @property
    def nudge(self) -> Callable[[], None]:
        """A function that has :meth:`next_within` return None once. Any thread; it does not keep the stream."""
        return self._mailbox.nudge

    def close(self) -> None:
        """Stop watching. Idempotent, from any thread."""
        self._ended = True
        self._future.cancel()

    async def aclose(self) -> None:
        """:meth:`close`; waits for nothing."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # May run in the garbage collector, inside any lock: leave the cancelling to the drain thread.
        if not self._ended:
            self._release(self._future)
