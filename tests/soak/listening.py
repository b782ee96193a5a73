"""What the library and the interpreter say in a process, in its books."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import Any

from bgresults.consumers.rpc.unclaimed import Reply, UnclaimedReplies
from tests.soak.books import Books

__all__ = ["listen_to_evictions", "listen_to_the_interpreter", "listen_to_the_log"]

_LOGGERS = ("bgresults", "concurrent.futures")
_LOST = "the reply queue %s was deleted"
_give_up = UnclaimedReplies._give_up
_TASK_ID = re.compile(rb'"task_id": "([^"]+)"')


class _LogBooks(logging.Handler):
    """Counts the lines."""

    def __init__(self, books: Books) -> None:
        super().__init__()
        self._books = books

    def emit(self, record: logging.LogRecord) -> None:
        self._books.count(f"log {record.name} {record.levelname}")
        if _LOST in str(record.msg) and isinstance(record.args, tuple):
            self._books.queue_lost(str(record.args[1]), time.monotonic())
        if record.levelno >= logging.CRITICAL:
            self._books.wrong(self.format(record))


def listen_to_the_log(books: Books) -> None:
    """From now on, instead of whoever listened before: in a forked child, the parent's books may be locked for ever."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [_LogBooks(books)]
        logger.propagate = False


def listen_to_the_interpreter(books: Books) -> None:
    """What nobody catches must not be."""

    def uncaught(args: threading.ExceptHookArgs) -> None:
        books.wrong(f"{args.thread!r} died of {args.exc_value!r}")
        threading.__excepthook__(args)

    def unraisable(args: Any) -> None:
        books.wrong(f"ignored in {args.object!r}: {args.exc_value!r}")
        sys.__unraisablehook__(args)

    threading.excepthook = uncaught
    sys.unraisablehook = unraisable


def listen_to_evictions(books: Books) -> None:
    """From now on, instead of whoever listened before: a watcher counts what it gives up, and does not say which."""

    def give_up(self: UnclaimedReplies, replies: list[Reply]) -> None:
        for reply in replies:
            # Wherever it is, next to the value, which may be large.
            if found := _TASK_ID.search(reply.body[:300] + reply.body[-300:]):
                books.given_up(found[1].decode())
        _give_up(self, replies)

    UnclaimedReplies._give_up = give_up  # type: ignore[method-assign]
