""":class:`AsyncEventStream`: server-sent events for servers that run coroutines. No thread waits for a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING

from bgresults.async_updates import AsyncStateStream
from bgresults.errors import WatcherError, WouldDeadlockError
from bgresults.session_holder import closed_error
from bgresults.sse.outcomes import plain_result
from bgresults.sse.script import ResultFunction, Script, Settings
from bgresults.sse.source import MOST_WAITING, Connection, checked_watcher
from bgresults.task_ids import TaskId, task_id_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from bgresults.watcher import ResultWatcher

__all__ = ["AsyncEventStream", "asse"]


def asse(
    watcher: ResultWatcher,
    task_id: TaskId,
    *,
    last_event_id: str | bytes | None = None,
    heartbeat: float = 15.0,
    retry: float = 3.0,
    timeout: float | None = None,
    result: ResultFunction = plain_result,
) -> AsyncEventStream:
    """:func:`sse` for a coroutine: an asynchronous iterator, for Django under ASGI, Starlette and their like.

    Arguments and errors are those of :func:`sse`. The watch begins with this call where an event loop runs, and with
    the first chunk where none does, as in a synchronous view of Django's under ASGI. ``result`` is called in the event
    loop.
    """
    settings = Settings(last_event_id, heartbeat, retry, timeout, result)
    return AsyncEventStream(checked_watcher(watcher), task_id, settings)


class AsyncEventStream(AsyncIterator[bytes]):
    """Yields chunks of bytes, each of one or more whole events, as things happen; ends after the event ``end``.

    One coroutine iterates, in one event loop. Cancelling it ends the watch and the stream, at once. It is an
    asynchronous context manager as well.
    """

    def __init__(self, watcher: ResultWatcher, task_id: TaskId, settings: Settings) -> None:
        self._watcher = watcher
        self._task_id = task_id
        self._script = Script(task_id_of(task_id), settings)
        self._opened: tuple[AsyncStateStream, Connection] | None = None
        self._greeted = False
        self._closed = False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if watcher.closed:
                raise closed_error() from None
        else:
            self._open()

    def _open(self) -> tuple[AsyncStateStream, Connection]:
        watcher, task_id = self._watcher, self._task_id
        states = AsyncStateStream(
            lambda on_update: watcher.watch(task_id, on_update=on_update),
            None,
            watcher._abandoned,
            keep=MOST_WAITING,
        )
        self._opened = opened = (states, Connection(watcher, states.nudge))
        return opened

    def __aiter__(self) -> AsyncEventStream:
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next event, or until a heartbeat is due.

        Raises:
            StopAsyncIteration: the end was told, or the stream was closed.
            RuntimeError: asked in another event loop, or by two coroutines at once.
        """
        try:
            chunk = b""
            while not chunk:
                chunk = await self._next_chunk()
            return chunk
        except (asyncio.CancelledError, GeneratorExit):
            # Nobody has to drop the stream first.
            self.close()
            raise

    async def _next_chunk(self) -> bytes:
        """What the next thing that happens has the page told; empty if nothing."""
        script = self._script
        if self._closed or script.over:
            self.close()
            raise StopAsyncIteration
        if not self._greeted:
            self._greeted = True
            return script.greeting()
        try:
            states, connection = self._opened or self._open()
            if changed := script.connection(connection.is_there):
                return changed
            meta = await states.next_within(script.patience())
        except StopAsyncIteration:
            if self._closed:
                raise
            return script.end("closed")
        except WouldDeadlockError:
            raise
        except WatcherError as error:
            return script.failure(error)
        except TimeoutError:
            return script.silence()
        return b"" if meta is None else script.state(meta)

    def close(self) -> None:
        """End the watch, and the iteration. Idempotent, from any thread."""
        self._closed = True
        if self._opened is not None:
            states, connection = self._opened
            connection.forget()
            states.close()

    async def aclose(self) -> None:
        """:meth:`close`; waits for nothing."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
