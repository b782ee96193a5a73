"""Hooks for gunicorn. Nothing here is needed: a watcher starts with its first use, and survives the fork before it.

In ``gunicorn.conf.py``:

.. code-block:: python

    from bgresults.integrations.gunicorn import post_fork, post_worker_init, worker_exit  # noqa: F401

With the first two a worker is connected before its first request. With the last one a worker that ends while threads of
it wait for results does not wait with them: their futures end with ``WatcherClosedError``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bgresults.forking import registered
from bgresults.watcher import ResultWatcher

__all__ = ["post_fork", "post_worker_init", "worker_exit"]

# Seconds that all watchers of a worker may take to end politely.
_FAREWELL = 1.0


def post_fork(_server: Any, worker: Any) -> None:
    """Start the watchers that a preloaded application has made; without ``--preload`` there are none yet."""
    # Workers of greenlets patch themselves after this. A thread from before would stay one.
    if not hasattr(worker, "patch"):
        _start_all(worker)


def post_worker_init(worker: Any) -> None:
    """Start the watchers that the application has made while it was loaded, and those of Flask's and Django's settings.

    Those are made when somebody asks for them, so here somebody does.
    """
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", None)
    results = extensions.get("bgresults") if isinstance(extensions, dict) else None
    # Imported by django.setup(), if the app is installed; a process without Django does not import it.
    handler = sys.modules.get("bgresults.integrations.django.handler")
    if results is not None:
        _try(worker, lambda: results.watcher)
    elif handler is not None:
        for alias in _try(worker, lambda: list(handler.watchers)) or ():
            _try(worker, partial(handler.watchers.__getitem__, alias))
    _start_all(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """Close all watchers of this worker: whatever waits for them ends."""
    if worker.pid != os.getpid():
        # The master calls this for a worker that has vanished. What it closed would be closed in all later workers.
        return
    for watcher in _watchers():
        # Have all of them end at once, and wait afterwards.
        watcher.close(timeout=0.0)
    deadline = time.monotonic() + _FAREWELL
    for watcher in _watchers():
        watcher.close(timeout=max(0.0, deadline - time.monotonic()))


def _watchers() -> list[ResultWatcher]:
    return [item for item in registered() if isinstance(item, ResultWatcher)]


def _start_all(worker: Any) -> None:
    for watcher in _watchers():
        if not watcher.closed:
            # Does not wait for the connection: that is for whoever needs it.
            _try(worker, partial(watcher.wait_ready, 0.0))


def _try(worker: Any, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except Exception as error:  # noqa: BLE001 - a request will say so as well, and a worker must start
        worker.log.warning("bgresults: a watcher was not started: %s: %s", type(error).__name__, error)
        return None
