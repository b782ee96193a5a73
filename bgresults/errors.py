"""Every error that bgresults raises or puts into a future.

Two families below :class:`BgResultsError`: a :class:`WatcherError` says that waiting went wrong, a
:class:`TaskError` says that the task did. An ``except`` clause can tell "I do not know what became of the task"
from "the task failed" by these two alone.
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailableError",
    "BgResultsError",
    "ForkedError",
    "NotWatchableError",
    "ReplyLostError",
    "ResultDecodeError",
    "TaskError",
    "TaskFailedError",
    "TaskRevokedError",
    "TooManyPendingError",
    "WatchExpiredError",
    "WatcherClosedError",
    "WatcherError",
    "WouldDeadlockError",
]


class BgResultsError(Exception):
    """Base class of all errors of this library."""


class WatcherError(BgResultsError):
    """Waiting for the result went wrong; nothing is known about the task itself."""


class WatcherClosedError(WatcherError):
    """The watcher was closed before the result arrived, or before it was asked to watch."""


class ForkedError(WatcherError):
    """The future was made in a parent process; a forked child has to call ``watch()`` again."""


class BackendUnavailableError(WatcherError):
    """The result backend cannot be used: refused for good, given up on, or lost with ``on_disconnect="fail"``."""


class WatchExpiredError(WatcherError, TimeoutError):
    """The watch reached its ``lifetime`` before the task ended."""


class TooManyPendingError(WatcherError):
    """``max_pending`` futures are pending already: the caller is asked to slow down."""


class NotWatchableError(WatcherError):
    """A result with this id cannot reach this watcher."""


class ReplyLostError(WatcherError):
    """The reply queue vanished while this future was waiting, and its reply may have vanished with it."""


class ResultDecodeError(WatcherError):
    """The backend holds something for this id that cannot be read as a task result."""


class WouldDeadlockError(WatcherError):
    """The drain thread was asked to wait for a result that only the drain thread can deliver."""


class TaskError(BgResultsError):
    """The task itself did not succeed."""


class TaskFailedError(TaskError):
    """The task raised something that this process cannot, or must not, rebuild as its own class.

    What a future raises is a subclass of this one that carries the name of the task's exception, so that a log line
    reads as it did in the worker.

    Attributes:
        exc_type: qualified name of the exception class in the worker, as it was sent.
        exc_module: name of the module of that class, or None if it was not sent.
        args: the arguments of the exception in the worker.
    """

    exc_type: str = ""
    exc_module: str | None = None


class TaskRevokedError(TaskError):
    """The task was revoked.

    Where Celery is imported, what a future raises is an instance of Celery's class of this name as well.
    """
