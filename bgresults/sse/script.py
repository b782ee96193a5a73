""":class:`Script`: which bytes a stream sends when; knows neither threads nor event loops."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bgresults.errors import (
    BackendUnavailableError,
    ForkedError,
    NotWatchableError,
    ReplyLostError,
    ResultDecodeError,
    TooManyPendingError,
    WatcherClosedError,
    WatcherError,
    WatchExpiredError,
)
from bgresults.meta import TaskMeta
from bgresults.options import check_seconds
from bgresults.safe_logging import log_safely
from bgresults.sse.form import COMPLETE, form_of, waiting_form
from bgresults.sse.framing import HEARTBEAT, event, retry_hint
from bgresults.sse.plain_json import TooLargeError, json_text, plain

__all__ = ["ResultFunction", "Script", "Settings", "saw_end"]

ResultFunction = Callable[[TaskMeta], Any]

#: Characters that a result may have as JSON. More than a page needs at a time, and few enough to send it at once.
MOST_RESULT: Final = 256 * 1024

# Why a stream ended before its task did, in the page's word.
_REASONS: Final[tuple[tuple[type[WatcherError], str], ...]] = (
    (WatchExpiredError, "expired"),
    (WatcherClosedError, "closed"),
    (BackendUnavailableError, "unavailable"),
    (ReplyLostError, "lost"),
    (ResultDecodeError, "unreadable"),
    (NotWatchableError, "unwatchable"),
    (TooManyPendingError, "busy"),
    (ForkedError, "forked"),
)
# What the page knows: the digest of a state, which means the same in every process; empty before there is one.
_DIGEST_SIZE: Final = 9
_END_OF: Final = "-end"
_ID: Final = re.compile(rf"((?:[0-9a-f]{{{2 * _DIGEST_SIZE}}})?)({_END_OF})?", re.ASCII)

_logger = logging.getLogger("bgresults")


@dataclass(frozen=True)
class Settings:
    """What a stream was told to do; checked.

    Raises:
        TypeError, ValueError: one of them makes no sense; the text names it and what is allowed.
    """

    last_event_id: str | bytes | None
    heartbeat: float
    retry: float
    timeout: float | None
    result: ResultFunction

    def __post_init__(self) -> None:
        if not isinstance(self.last_event_id, (str, bytes, type(None))):
            raise TypeError(
                "last_event_id must be what the header says, as str or bytes, or None, "
                f"not {type(self.last_event_id).__name__}"
            )
        check_seconds("heartbeat", self.heartbeat)
        check_seconds("retry", self.retry)
        check_seconds("timeout", self.timeout, optional=True)
        if not callable(self.result):
            raise TypeError(
                "result must be a function that makes a JSON value of a TaskMeta, such as bgresults.sse.plain_result, "
                f"not {type(self.result).__name__}"
            )


class Script:
    """One stream's, used by one thread at a time."""

    def __init__(self, task_id: str, settings: Settings) -> None:
        self._settings = settings
        self._seen = _digest_in(settings.last_event_id)
        self._last: dict[str, Any] = waiting_form(task_id)
        self._connected = True
        #: Whether the end was told.
        self.over = False
        now = time.monotonic()
        self._silent_since = now
        self._ends_at = math.inf if settings.timeout is None else now + settings.timeout

    def greeting(self) -> bytes:
        """What comes first of all."""
        return self._told(retry_hint(self._settings.retry))

    def patience(self) -> float:
        """Seconds until something has to be told, whatever happens meanwhile."""
        return max(0.0, min(self._silent_since + self._settings.heartbeat, self._ends_at) - time.monotonic())

    def silence(self) -> bytes:
        """Nothing has happened for so long: a heartbeat, or the end; empty if that was too early."""
        now = time.monotonic()
        if now >= self._ends_at:
            return self.end("timeout")
        return self._told(HEARTBEAT) if now >= self._silent_since + self._settings.heartbeat else b""

    def connection(self, connected: bool) -> bytes:
        """What is to be told of the connection to the backend; empty if that is known."""
        if connected is self._connected:
            return b""
        self._connected = connected
        return self._told(event("connection", json_text({"state": "connected" if connected else "reconnecting"})))

    def state(self, meta: TaskMeta) -> bytes:
        """What is to be told of a state; with the end if it is the final one; empty if the page knows it."""
        self._last = form = form_of(meta, self._outcome(meta) if meta.status in COMPLETE else None)
        data = self._text_of(form)
        digest = hashlib.blake2b(data.encode(), digest_size=_DIGEST_SIZE).hexdigest()
        known, self._seen = digest == self._seen, digest
        told = b"" if known else event("state", data, digest)
        if meta.ready:
            # It may be what was found at once after an outage, when the stream ends before that is over.
            told = self.connection(True) + told + self.end()
        return self._told(told)

    def end(self, reason: str | None = None) -> bytes:
        """The last event; ``reason``: why it is the last one although the task goes on, as far as is known."""
        self.over = True
        form = self._last if reason is None else {**self._last, "reason": reason}
        return event("end", self._text_of(form), f"{self._seen}{_END_OF}")

    def failure(self, error: WatcherError) -> bytes:
        """The last event, after waiting itself went wrong."""
        return self.end(next((reason for kind, reason in _REASONS if isinstance(error, kind)), "failed"))

    def _told(self, chunk: bytes) -> bytes:
        if chunk:
            self._silent_since = time.monotonic()
        return chunk

    def _outcome(self, meta: TaskMeta) -> Any:
        try:
            return self._settings.result(meta)
        except Exception as error:  # noqa: BLE001 - a function of the application's: the page shall see the end anyway
            text = "the result of task %r cannot be told"
            fields = {"event": "result_not_told", "task_id": meta.task_id}
            log_safely(_logger, logging.ERROR, text, meta.task_id, error=error, **fields)
            return None

    def _text_of(self, form: dict[str, Any]) -> str:
        try:
            return json_text(plain(form, MOST_RESULT))
        except TooLargeError:
            # Everything else in it is short, but for the id, which is as long as whoever sent the task has made it.
            form = self._last = {**form, "result": None, "truncated": True}
            return json_text(form)


def saw_end(last_event_id: str | bytes | None) -> bool:
    """Whether a browser that says this has seen the event ``end``, and connects again all the same."""
    return (found := _id_in(last_event_id)) is not None and found[2] is not None


def _digest_in(last_event_id: str | bytes | None) -> str:
    """The digest of the state that the page knows; empty if that is none of ours."""
    found = _id_in(last_event_id)
    return "" if found is None else found[1]


def _id_in(last_event_id: str | bytes | None) -> re.Match[str] | None:
    # A client writes what it likes: nothing of it goes any further unless it looks like an id that was sent.
    text = last_event_id.decode("latin-1") if isinstance(last_event_id, bytes) else last_event_id
    return _ID.fullmatch(text or "")
