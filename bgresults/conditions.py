""":class:`Condition`: what a future is waited for with; and :class:`TimedOut`, for who has waited in vain."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError

__all__ = ["Condition", "TimedOut"]


if sys.version_info >= (3, 11):
    TimedOut = TimeoutError
else:

    class TimedOut(FutureTimeoutError, TimeoutError):
        """What Python 3.11 made one: ``except TimeoutError`` catches it as well."""


class Condition(threading.Condition):
    """A condition together with its lock.

    ``with condition:`` calls functions written in Python, and a signal may be handled in those: an exception out of its
    handler would leave the lock locked for ever, and with it the thread that resolves futures. ``with lock:`` cannot be
    come in between.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        super().__init__(self.lock)
