""":class:`BgResults`: the extension object, which knows no application by itself."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from flask import Flask, current_app, has_app_context

from bgresults.futures import ResultFuture
from bgresults.integrations.flask.application import ApplicationResults
from bgresults.integrations.flask.settings import read_config
from bgresults.task_ids import TaskId
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from bgresults.integrations.celery import CeleryResultFuture, GroupFutures
    from bgresults.integrations.celery.sendable import ManyTasks, OneTask, SomeTasks

__all__ = ["BgResults"]

_NAME = "bgresults"


class BgResults:
    """The results of Celery tasks in a Flask application.

    One object may serve several applications. In an application context everything below is about the current one;
    outside of any, about the only one that this object was given. ``app.extensions["bgresults"]`` has the same methods
    for one application, in any context and in none.

    Args:
        app: as for :meth:`init_app`; None to call that later.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the config of an application; makes no connection, starts no thread and imports no Celery application.

        ``BGRESULTS_CELERY_APP`` is a Celery application or the place of one, as for ``celery -A``. ``BGRESULTS_URL``
        and the other arguments of :class:`~bgresults.ResultWatcher` in capitals, such as ``BGRESULTS_MAX_PENDING``, win
        over what that application says. ``BGRESULTS_RETRY``, ``BGRESULTS_REDIS`` and ``BGRESULTS_AMQP`` may be mappings
        of their options. With neither of the first two, ``app.extensions["celery"]`` is used.

        Raises:
            TypeError, ValueError: a key is unknown, or its value makes no sense; the text names it and what is allowed.
            RuntimeError: the application has such an extension already.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                f"Flask app {app.name!r} has a BgResults already; use that one, or app.extensions[{_NAME!r}]"
            )
        app.extensions[_NAME] = ApplicationResults(app, read_config(app.name, app.config))
        self._apps.add(app)

    @property
    def watcher(self) -> ResultWatcher:
        """:attr:`ApplicationResults.watcher` of the application in question.

        Raises:
            RuntimeError: no application is in question, or one that this object was not given.
            As there.
        """
        return self._here().watcher

    def watch(self, task_id: TaskId, **options: Any) -> ResultFuture:
        """:meth:`ResultWatcher.watch`."""
        return self._here().watch(task_id, **options)

    def watch_many(self, task_ids: Iterable[TaskId], **options: Any) -> list[ResultFuture]:
        """:meth:`ResultWatcher.watch_many`."""
        return self._here().watch_many(task_ids, **options)

    @overload
    def submit(self, task: ManyTasks, args: Any = None, kwargs: Any = None, **options: Any) -> GroupFutures: ...
    @overload
    def submit(
        self, task: SomeTasks, args: Any = None, kwargs: Any = None, **options: Any
    ) -> CeleryResultFuture | Any: ...
    @overload
    def submit(self, task: OneTask, args: Any = None, kwargs: Any = None, **options: Any) -> CeleryResultFuture: ...
    def submit(self, task: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """:meth:`ApplicationResults.submit`."""
        return self._here().submit(task, args, kwargs, **options)

    def close(self, timeout: float = 5.0) -> None:
        """:meth:`ApplicationResults.close`."""
        self._here().close(timeout)

    def _here(self) -> ApplicationResults:
        if has_app_context():
            # What the proxy stands for, which Flask types as the proxy.
            app: Any = current_app
            app = app._get_current_object()
        else:
            apps = list(self._apps)
            if len(apps) != 1:
                raise RuntimeError(
                    f"no application context, and this BgResults was given {len(apps) or 'no'} applications: use it "
                    f"in a request or within app.app_context(), or use app.extensions[{_NAME!r}]"
                    + ("" if apps else "; call init_app(app) first")
                )
            app = apps[0]
        if app not in self._apps:
            raise RuntimeError(f"Flask app {app.name!r} was not given to this BgResults: call init_app(app)")
        found: ApplicationResults = app.extensions[_NAME]
        return found
