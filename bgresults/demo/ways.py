"""Two ways to wait for the result of a task that a web process sends: futures, and ``AsyncResult.get()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from bgresults import ResultWatcher
from bgresults.demo.board import Board
from bgresults.demo.plan import PROGRESS, Job
from bgresults.demo.tasks import make_app

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Futures", "Gets", "Way"]

# Never reached; a demo must end, whatever happens.
PATIENCE = 30.0


class Way(Protocol):
    """A way to send a task and wait for its result."""

    title: str
    sees_updates: bool
    app: Celery

    def wait(self, job: Job, board: Board) -> Any:
        """Send, wait, and return the task's value or raise what it raised. Any thread."""

    def close(self) -> None:
        """Let go of the connections to the result backend."""


class Futures:
    """One watcher for all threads."""

    title = "bgresults"
    sees_updates = True

    def __init__(self, broker: str, backend: str) -> None:
        # It only sends. With a result backend, Celery would subscribe to the result of every task that it sends.
        self.app = make_app(broker, "disabled://")
        self.watcher = ResultWatcher(backend)

    def wait(self, job: Job, board: Board) -> Any:
        """As in the README."""
        future = self.watcher.watch(job.task_id, on_update=board.progressed if job.kind == PROGRESS else None)
        self.app.send_task(job.task, job.args, task_id=job.task_id)
        error = future.exception(timeout=PATIENCE)
        if isinstance(error, ValueError) and "Traceback" not in str(error.__cause__):
            raise AssertionError("the worker's traceback is missing") from error
        return future.result(timeout=0)

    def close(self) -> None:
        """Whatever waits still is told that the watcher is closed."""
        self.watcher.close()


class Gets:
    """Celery as it is."""

    title = "AsyncResult.get()"
    sees_updates = False

    def __init__(self, broker: str, backend: str) -> None:
        self.app = make_app(broker, backend)

    def wait(self, job: Job, board: Board) -> Any:
        """As in Celery's documentation."""
        return self.app.send_task(job.task, job.args, task_id=job.task_id).get(timeout=PATIENCE)

    def close(self) -> None:
        """Its connections are its threads' and go with them."""
