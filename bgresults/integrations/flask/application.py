""":class:`ApplicationResults`: the watcher of one Flask application."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from bgresults.forking import import_lock, leaf_lock
from bgresults.futures import ResultFuture
from bgresults.integrations.flask.settings import CELERY_APP, URL, Settings
from bgresults.task_ids import TaskId
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from flask import Flask

    from bgresults.integrations.celery import CeleryResultFuture, GroupFutures
    from bgresults.integrations.celery.sendable import ManyTasks, OneTask, SomeTasks

__all__ = ["ApplicationResults"]


class ApplicationResults:
    """What ``app.extensions["bgresults"]`` is. Needs no application context. Any thread, and a forked child."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._name = app.name
        # The application holds this.
        self._app = weakref.ref(app)
        self._settings = settings
        self._watcher: ResultWatcher | None = None

    @property
    def watcher(self) -> ResultWatcher:
        """The watcher, made when it is first asked for, and again once it was closed.

        That connects to nothing and starts no thread; watching does. Of a Celery application it is the one that
        ``ResultWatcher.from_celery()`` returns, with the URL and the other settings of the config as overrides.

        Raises:
            ValueError: the config names neither a URL nor a Celery application, or one that cannot be imported.
            ImportError: Celery is not installed.
            TypeError, ValueError: as for ``from_celery()``.
        """
        watcher = self._watcher
        if watcher is None or watcher.closed:
            watcher = self._open()
        return watcher

    def watch(self, task_id: TaskId, **options: Any) -> ResultFuture:
        """:meth:`ResultWatcher.watch`."""
        return self.watcher.watch(task_id, **options)

    def watch_many(self, task_ids: Iterable[TaskId], **options: Any) -> list[ResultFuture]:
        """:meth:`ResultWatcher.watch_many`."""
        return self.watcher.watch_many(task_ids, **options)

    @overload
    def submit(self, task: ManyTasks, args: Any = None, kwargs: Any = None, **options: Any) -> GroupFutures: ...
    @overload
    def submit(
        self, task: SomeTasks, args: Any = None, kwargs: Any = None, **options: Any
    ) -> CeleryResultFuture | Any: ...
    @overload
    def submit(self, task: OneTask, args: Any = None, kwargs: Any = None, **options: Any) -> CeleryResultFuture: ...
    def submit(self, task: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """``submit()`` of the watcher of a Celery application.

        Raises:
            RuntimeError: the config names a URL alone.
        """
        submit = getattr(self.watcher, "submit", None)
        if submit is None:
            raise RuntimeError(
                f"Flask app {self._name!r} has {URL} alone, which is enough to watch; to submit() tasks, set "
                f"{CELERY_APP} to its Celery application"
            )
        return submit(task, args, kwargs, **options)

    def close(self, timeout: float = 5.0) -> None:
        """Close the watcher if there is one: :meth:`ResultWatcher.close`. The next use makes a new one.

        Flask applications with the same Celery application share its watcher.
        """
        watcher = self._watcher
        if watcher is not None:
            watcher.close(timeout)

    def _open(self) -> ResultWatcher:
        celery_app = self._celery_app()
        if celery_app is not None:
            # The same one every time, whoever comes first.
            self._watcher = shared = ResultWatcher.from_celery(celery_app, **self._settings.arguments)
            return shared
        fresh = ResultWatcher(**{"name": self._name, **self._settings.arguments})
        with leaf_lock():
            # Another thread may have come first.
            if self._watcher is None or self._watcher.closed:
                self._watcher = fresh
            return self._watcher

    def _celery_app(self) -> Any:
        """The Celery application; None where a URL is all that there is."""
        named = self._settings.celery_app
        if isinstance(named, str):
            return self._imported(named)
        if named is not None or "url" in self._settings.arguments:
            return named
        app = self._app()
        # Where the Flask documentation puts it.
        found = None if app is None else app.extensions.get("celery")
        if found is None:
            raise ValueError(
                f"config of Flask app {self._name!r}: set {CELERY_APP} ('proj.celery:app', or the application itself), "
                f"app.extensions['celery'], or {URL} ('redis://…', 'amqp://…'){self._set_late(app)}"
            )
        return found

    def _set_late(self, app: Flask | None) -> str:
        late = [key for key in (CELERY_APP, URL) if app is not None and app.config.get(key) is not None]
        return f"; {' and '.join(late)} came too late: init_app() reads the config" if late else ""

    def _imported(self, place: str) -> Any:
        try:
            with import_lock():
                from celery.utils.imports import import_from_cwd

                from bgresults.integrations.celery.applications import import_application
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "celery":
                raise
            raise ImportError(f"{CELERY_APP} needs Celery: pip install 'bgresults[celery]'") from error
        try:
            return import_application(place, import_from_cwd)
        except Exception as error:
            raise ValueError(
                f"config of Flask app {self._name!r}, {CELERY_APP}: there is no Celery application at {place!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
