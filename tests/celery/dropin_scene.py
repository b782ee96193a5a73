"""An application that waits on the background thread, and a stock worker, in Redis and over rpc."""

from __future__ import annotations

from typing import Any

from celery import Celery

from bgresults import ResultWatcher
from tests.support.rpc_workers import WebApps
from tests.support.workers import TaskWorker

__all__ = ["DropIns"]


class DropIns:
    """Applications of one test; closed with everything that they opened."""

    def __init__(self) -> None:
        self._apps = WebApps()
        self._made: list[Celery] = []

    def __call__(self, worker: TaskWorker, **settings: Any) -> Celery:
        """One that sends to ``worker`` and whose ``result_backend`` is the drop-in's."""
        url = str(worker.settings["result_backend"]).removeprefix("bgresults+")
        app = self._apps(worker.settings, result_backend=f"bgresults+{url}", **settings)
        self._made.append(app)
        return app

    def stock(self, worker: TaskWorker, **settings: Any) -> Celery:
        """One with Celery's own waiting."""
        app = self._apps(worker.settings, **settings)
        self._made.append(app)
        return app

    def close(self) -> None:
        """Close them."""
        for app in self._made:
            watcher = getattr(vars(app).get("_bgresults"), "watcher", None)
            if watcher is not None:
                ResultWatcher.from_celery(app).close()
        self._apps.close()
