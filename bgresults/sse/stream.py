""":class:`EventStream`: server-sent events for servers that give a thread to each response."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from bgresults.errors import WatcherError, WouldDeadlockError
from bgresults.sse.outcomes import plain_result
from bgresults.sse.script import ResultFunction, Script, Settings
from bgresults.sse.source import MOST_WAITING, Connection, checked_watcher
from bgresults.task_ids import TaskId, task_id_of
from bgresults.updates import StateStream

if TYPE_CHECKING:
    from typing_extensions import Self

    from bgresults.watcher import ResultWatcher

__all__ = ["EventStream", "sse"]


def sse(
    watcher: ResultWatcher,
    task_id: TaskId,
    *,
    last_event_id: str | bytes | None = None,
    heartbeat: float = 15.0,
    retry: float = 3.0,
    timeout: float | None = None,
    result: ResultFunction = plain_result,
) -> EventStream:
    """Return the states of a task as server-sent events: the body of a response with ``HEADERS``. Never waits.

    The watch begins with this call, and ends with the task, when the stream is closed, and when it is dropped. One
    thread iterates. What the events are: ``docs/sse.md``.

    Args:
        watcher: who watches the task.
        task_id: as for :meth:`ResultWatcher.watch`.
        last_event_id: the request's Last-Event-ID header, if it has one: a state that the page knows is not sent again.
            Whatever a client has written there does no harm.
        heartbeat: seconds of silence after which a comment is sent. It is what a web server notices the departure of
            the client by: at the second one, as a rule.
        retry: seconds after which a browser whose connection was lost connects again.
        timeout: seconds after which the stream ends, whether the task has ended or not; None for never.
        result: makes what the page is told of how the task ended, a JSON value, from the state: SUCCESS, FAILURE,
            REVOKED or RETRY. By default that is the task's value, or class and message of its error, and **everybody
            who can ask for the stream gets to see it**. What it raises is logged, and the page told None.

    Raises:
        TypeError, ValueError: an argument makes no sense.
        TooManyPendingError: the watcher has too many pending futures.
        WatcherClosedError: the watcher is closed.
    """
    settings = Settings(last_event_id, heartbeat, retry, timeout, result)
    return EventStream(checked_watcher(watcher), task_id, settings)


class EventStream(Iterator[bytes]):
    """Yields chunks of bytes, each of one or more whole events, as things happen; ends after the event ``end``.

    It is a context manager as well.
    """

    def __init__(self, watcher: ResultWatcher, task_id: TaskId, settings: Settings) -> None:
        script = Script(task_id_of(task_id), settings)
        self._states = StateStream(
            lambda on_update: watcher.watch(task_id, on_update=on_update),
            None,
            watcher._abandoned,
            keep=MOST_WAITING,
        )
        self._connection = Connection(watcher, self._states.nudge)
        self._script = script
        self._greeted = False
        self._closed = False

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        """Wait for the next event, or until a heartbeat is due.

        Raises:
            StopIteration: the end was told, or the stream was closed.
            WouldDeadlockError: asked for in a callback, while the task goes on.
        """
        chunk = b""
        while not chunk:
            chunk = self._next_chunk()
        return chunk

    def _next_chunk(self) -> bytes:
        """What the next thing that happens has the page told; empty if nothing."""
        script = self._script
        if self._closed or script.over:
            self.close()
            raise StopIteration
        if not self._greeted:
            self._greeted = True
            return script.greeting()
        if changed := script.connection(self._connection.is_there):
            return changed
        try:
            meta = self._states.next_within(script.patience())
        except StopIteration:
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
        self._connection.forget()
        self._states.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
