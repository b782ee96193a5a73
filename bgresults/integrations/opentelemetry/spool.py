""":class:`Spool`: a thread that does what the drain thread must not.

What ends a span, or records a measurement, is code of the application's: a span processor may export there and then,
over the network, and may raise anything. The drain thread only puts down what happened.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from bgresults import forking
from bgresults.safe_logging import log_safely

__all__ = ["Spool"]

_logger = logging.getLogger("bgresults")

# What was put down waits for more, so that a thread does not have to be woken for each.
_DELAY = 0.2


class Spool:
    """Hands things over to a function, one after the other, in a thread of its own. A forked child starts empty.

    Args:
        handle: called with each. What it raises is logged, once until it works again.
        limit: how many may wait. What comes then is left out: it would take memory without end.

    Attributes:
        left_out: how many were, in this process.
    """

    _thread: threading.Thread | None

    def __init__(self, handle: Callable[[Any], object], limit: int) -> None:
        self._handle = handle
        self._limit = limit
        self._closed = False
        self._begin()
        forking.register(self)

    def put(self, thing: object) -> None:
        """Have it handled soon. Any thread; takes less than a microsecond."""
        self._here()
        if self._closed:
            return
        things = self._things
        if len(things) >= self._limit:
            if not self.left_out:
                log_safely(
                    _logger,
                    logging.WARNING,
                    "spans end too slowly: %d wait, others are left out",
                    len(things),
                    event="telemetry_failed",
                )
            self.left_out += 1
            return
        things.append(thing)
        if not self._woken.is_set():
            self._woken.set()

    def start(self) -> None:
        """Have a thread in this process. Idempotent."""
        self._here()
        thread = threading.Thread(target=self._run, name="bgresults-telemetry", daemon=True)
        with forking.leaf_lock():
            if self._thread is not None or self._closed:
                return
            self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            self._thread = None
            log_safely(
                _logger,
                logging.WARNING,
                "no telemetry, there is no thread for that: %s",
                error,
                event="telemetry_failed",
            )

    def flush(self, timeout: float) -> bool:
        """Wait until what was put down before this call has been handled; False if ``timeout`` seconds were too few."""
        self._here()
        if self._thread is None or not self._thread.is_alive():
            return not self._things
        if self._thread is threading.current_thread():
            return False
        done = threading.Event()
        self._things.append(done)
        self._hurry.set()
        self._woken.set()
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """:meth:`flush`, and end the thread. Idempotent."""
        if self._closed:
            return
        self.flush(timeout)
        self._closed = True
        self._hurry.set()
        self._woken.set()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._things: deque[Any] = deque()
        self._woken = threading.Event()
        self._hurry = threading.Event()
        self._thread = None
        self.left_out = 0
        self._failing = False

    def _here(self) -> None:
        """A C-level fork runs no hook."""
        if self._pid != os.getpid():
            forking.generation()
            self._after_fork_in_child()

    def _after_fork_in_child(self) -> None:
        # What waits here is told of by the parent.
        if self._pid != os.getpid():
            self._begin()

    def _run(self) -> None:
        while True:
            self._woken.wait()
            if self._hurry.wait(_DELAY) and not self._closed:
                self._hurry.clear()
            # First: what comes from here on wakes again.
            self._woken.clear()
            while self._things:
                self._do(self._things.popleft())
            if self._closed:
                return

    def _do(self, thing: Any) -> None:
        if isinstance(thing, threading.Event):
            thing.set()
            return
        try:
            self._handle(thing)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a sampler's, a processor's, an exporter's
            if not self._failing:
                self._failing = True
                log_safely(
                    _logger, logging.WARNING, "telemetry failed: %r", error, error=error, event="telemetry_failed"
                )
        else:
            self._failing = False
