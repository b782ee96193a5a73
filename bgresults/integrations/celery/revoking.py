""":class:`Revoker`: revokes tasks whose watch expired.

Telling the workers takes a connection to the broker and may take long. The drain thread, which learns of an expiry, has
no time for that, so a thread of its own does it, and ends when there is nothing left to do.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from bgresults import forking
from bgresults.errors import WatchExpiredError
from bgresults.safe_logging import log_safely

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Revoker"]

_logger = logging.getLogger("bgresults")


class Revoker:
    """Of one application. All methods may be called from any thread."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._after_fork_in_child()
        forking.register(self)

    def _after_fork_in_child(self) -> None:
        """Begin with nothing: the parent's thread revokes what the parent's futures waited for."""
        self._waiting: deque[str] = deque()
        # Held for a few steps without I/O.
        self._lock = threading.RLock()
        self._running = False

    def when_expired(self, future: Future[Any]) -> None:
        """A done-callback: revoke the task if it was not heard of in time."""
        if not future.cancelled() and isinstance(future.exception(0), WatchExpiredError):
            self.revoke(future.task_id)  # type: ignore[attr-defined]

    def revoke(self, task_id: str) -> None:
        """Have a task revoked, soon; a failure is logged."""
        forking.generation()
        with self._lock:
            self._waiting.append(task_id)
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._work, name="bgresults-revoker", daemon=True).start()
        except RuntimeError as error:
            # No thread to be had, or the interpreter is exiting. The next one that expires tries again.
            self._running = False
            log_safely(
                _logger,
                logging.WARNING,
                "task %s expired and could not be revoked: %s",
                task_id,
                error,
                event="not_revoked",
                task_ids=[task_id],
            )

    def _work(self) -> None:
        while True:
            with self._lock:
                task_ids = list(self._waiting)
                self._waiting.clear()
                if not task_ids:
                    self._running = False
                    return
            try:
                self._app.control.revoke(task_ids)
            except Exception as error:  # noqa: BLE001 - a broker that is away, in whatever way
                log_safely(
                    _logger,
                    logging.WARNING,
                    "%d tasks that expired could not be revoked: %s",
                    len(task_ids),
                    error,
                    event="not_revoked",
                    task_ids=task_ids,
                )
