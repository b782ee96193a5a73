"""Hooks for gunicorn. Nothing here is needed: a watcher starts with its first use, and survives the fork before it.

In ``gunicorn.conf.py``:

.. code-block:: python

    from bgresults.integrations.gunicorn import post_fork, post_worker_init, worker_exit  # noqa: F401

With the first two a worker is connected before its first request. With the last one a worker that ends while threads of
it wait for results does not wait with them: their futures end with ``WatcherClosedError``.
"""

from __future__ import annotations

import os
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
    """Start the watchers that the application has made while it was loaded, and that of a Flask application."""
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", None)
    results = extensions.get("bgresults") if isinstance(extensions, dict) else None
    if results is not None:
        try:
            # It is made when somebody asks for it.
            _ = results.watcher
        except Exception as error:  # noqa: BLE001 - a request will say so as well, and a worker must start
            _complain(worker, error)
    _start_all(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """Close all watchers of this worker. The next request that uses one, if there is any, is refused."""
    if worker.pid != os.getpid():
        # The master calls this for a worker that has vanished. What it closed would be closed in all later workers.
        return
    for watcher in _watchers():
        # Have all of them end at once, and wait afterwards.
        watcher.close(timeout=0.0)
    for watcher in _watchers():
        watcher.close(timeout=_FAREWELL)


def _watchers() -> list[ResultWatcher]:
    return [item for item in registered() if isinstance(item, ResultWatcher)]


def _start_all(worker: Any) -> None:
    for watcher in _watchers():
        if not watcher.closed:
            try:
                # Does not wait for the connection: that is for whoever needs it.
                watcher.wait_ready(0.0)
            except Exception as error:  # noqa: BLE001 - a request will say so as well, and a worker must start
                _complain(worker, error)


def _complain(worker: Any, error: Exception) -> None:
    worker.log.warning("bgresults: a watcher was not started: %s: %s", type(error).__name__, error)
