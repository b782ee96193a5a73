"""The results of Celery tasks as ``concurrent.futures.Future`` objects, for synchronous web applications."""

import logging

from bgresults.errors import (
    BackendUnavailableError,
    BgResultsError,
    ForkedError,
    NotWatchableError,
    ReplyLostError,
    ResultDecodeError,
    TaskError,
    TaskFailedError,
    TaskRevokedError,
    TooManyPendingError,
    WatcherClosedError,
    WatcherError,
    WatchExpiredError,
    WouldDeadlockError,
)
from bgresults.futures import ResultFuture
from bgresults.health import WatcherHealth
from bgresults.meta import TaskMeta
from bgresults.options import AMQPOptions, RedisOptions, RetryPolicy
from bgresults.stats import WatcherStats
from bgresults.watcher import ResultWatcher

__all__ = [
    "AMQPOptions",
    "BackendUnavailableError",
    "BgResultsError",
    "ForkedError",
    "NotWatchableError",
    "RedisOptions",
    "ReplyLostError",
    "ResultDecodeError",
    "ResultFuture",
    "ResultWatcher",
    "RetryPolicy",
    "TaskError",
    "TaskFailedError",
    "TaskMeta",
    "TaskRevokedError",
    "TooManyPendingError",
    "WatchExpiredError",
    "WatcherClosedError",
    "WatcherError",
    "WatcherHealth",
    "WatcherStats",
    "WouldDeadlockError",
]

__version__ = "1.0.0"

# A library is silent unless the application says otherwise; without this, warnings at interpreter exit reach stderr.
logging.getLogger("bgresults").addHandler(logging.NullHandler())
