""":class:`AppWatcher`: a watcher that a Celery application configures."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from celery.result import AsyncResult, EagerResult, GroupResult

from bgresults.configuration import Configuration, configured
from bgresults.errors import NotWatchableError
from bgresults.forking import leaf_lock
from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.integrations.celery.applications import name_of
from bgresults.integrations.celery.eager import finished_future
from bgresults.integrations.celery.following import watch_following
from bgresults.integrations.celery.futures import CeleryResultFuture
from bgresults.integrations.celery.groups import GroupFutures
from bgresults.integrations.celery.revoking import Revoker
from bgresults.integrations.celery.routing import ReplyRoute, ReplyRouter, route_all
from bgresults.integrations.celery.sending import without_subscribing
from bgresults.integrations.celery.settings import read_settings
from bgresults.lifetimes import DEFAULT_LIFETIME, DefaultLifetime
from bgresults.options import RetryPolicy
from bgresults.session import SessionSettings
from bgresults.task_ids import TaskId, task_id_of
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["AppWatcher"]


class AppWatcher(ResultWatcher):
    """All of a :class:`CeleryResultWatcher` but the sending of tasks."""

    #: The application.
    app: Celery
    _future_class = CeleryResultFuture

    def __init__(self, app: Celery, overrides: Mapping[str, Any]) -> None:
        self.app = app
        self._overrides = dict(overrides)
        self._configured = False
        self._revoker = Revoker(app)
        self._router = ReplyRouter(self)
        name = str(overrides.get("name") or app.main or "celery")
        # Stands in until the first use; closing and asking for the state work with it.
        self._adopt(
            Configuration(
                SessionSettings(
                    name=name,
                    address=f"the result backend of Celery app {name_of(app)}",
                    logger=logging.getLogger("bgresults"),
                    make_consumer=_not_configured,
                    retry=RetryPolicy(),
                    on_disconnect="wait",
                ),
                None,
                1,
                2.0,
            )
        )

    # -- watching ----------------------------------------------------------------------------------------------------

    def watch(
        self,
        task_id: TaskId,
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
    ) -> CeleryResultFuture:
        """:meth:`ResultWatcher.watch`, also for results of eager tasks, which have ended already.

        Of an ``AsyncResult`` that knows its parents, it also ends when one of those has failed, as ``get()`` does.

        Raises:
            NotWatchableError: the application's results cannot be watched, or this one is ignored.
            TypeError, ValueError, TooManyPendingError, WatcherClosedError: as for any watcher, or the application's
                settings make no sense.
        """
        return self.watch_many([task_id], lifetime=lifetime, on_update=on_update)[0]

    def watch_many(  # type: ignore[override]  # a list of what the base class promises one of
        self,
        task_ids: Iterable[TaskId],
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
    ) -> list[CeleryResultFuture]:
        """:meth:`ResultWatcher.watch_many`; see :meth:`watch`."""
        given: Any = task_ids
        if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
            given = list(given)
            known = [value for value in given if isinstance(value, AsyncResult)]
            if any(result.parent is not None for result in known) and not any(hasattr(v, "results") for v in given):
                return watch_following(self, given, lifetime, on_update)
        return self._watch_results(given, lifetime, on_update)

    def watch_group(
        self,
        group: Any,
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
    ) -> GroupFutures:
        """Watch all tasks of a group, those of nested groups too, in one batch.

        Args:
            group: a ``GroupResult`` or ``ResultSet``; or the id under which one was saved. That one is read from the
                result backend, by Celery and in this thread.
            lifetime, on_update: for each task, as in :meth:`watch`.

        Raises:
            TypeError: it is no group.
            NotWatchableError: nothing was saved under that id.
            As :meth:`watch`.
        """
        if not hasattr(group, "results"):
            if isinstance(group, AsyncResult):
                raise TypeError(f"watch_group() takes a group's result, not an {type(group).__name__}; use watch()")
            group_id = task_id_of(group)
            try:
                with without_subscribing(self.app):
                    group = GroupResult.restore(group_id, app=self.app)
            except NotImplementedError as error:
                raise NotWatchableError(f"the result backend saves no groups ({error}); watch its result") from error
            if group is None:
                raise NotWatchableError(
                    f"no group is saved under {group_id!r}; its sender has to call GroupResult.save()"
                )
        futures = watch_following(self, [group], lifetime, on_update)
        return GroupFutures(getattr(group, "id", None), group, futures)

    # -- state -------------------------------------------------------------------------------------------------------

    def wait_ready(self, timeout: float | None = None) -> bool:
        """:meth:`ResultWatcher.wait_ready`.

        Raises:
            NotWatchableError: the application's results cannot be watched.
            TypeError, ValueError: the application's settings make no sense.
            As :meth:`ResultWatcher.wait_ready`.
        """
        self._configure()
        return super().wait_ready(timeout)

    @property
    def reply_to(self) -> str | None:
        """:attr:`ResultWatcher.reply_to`.

        Raises:
            As :meth:`wait_ready`.
        """
        self._configure()
        return super().reply_to

    def declare_for(self, task_id: TaskId) -> str | None:
        """:meth:`ResultWatcher.declare_for`.

        Raises:
            As :meth:`wait_ready`.
        """
        self._configure()
        return super().declare_for(task_id)

    def route_replies(self) -> ReplyRoute:
        """Have the results of all tasks that this process sends come here: plain ``task.delay()``, in any thread.

        For ``result_backend="rpc://"``; with results in Redis there is nothing to do. Undone by ``undo()`` of what it
        returns, or by leaving it as a context manager. For what was sent under it, ``AsyncResult.get()`` has nothing to
        wait for: use :meth:`watch`. Tasks that are sent with a ``reply_to`` of their own keep it.

        Raises:
            As :attr:`reply_to`.
        """
        self._configure()
        return route_all(self)

    def close(self, timeout: float = 5.0) -> None:
        self._router.uninstall()
        try:
            super().close(timeout)
        finally:
            # Another thread may have used the watcher for the first time meanwhile.
            self._router.uninstall()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _watch(self, keys: list[str], deadline: float | None, on_update: UpdateCallback | None) -> list[ResultFuture]:
        self._router.refuse_elsewhere(keys)
        return super()._watch(keys, deadline, on_update)

    def _seconds(self, lifetime: float | DefaultLifetime | None) -> float | None:
        # The first thing that watching does.
        self._configure()
        return super()._seconds(lifetime)

    def _configure(self) -> None:
        """Ask the application for its settings, once."""
        if self._configured:
            return
        settings = read_settings(self.app, self._overrides)
        try:
            found = configured(**settings)
        except ValueError as error:
            raise ValueError(f"the settings of Celery app {name_of(self.app)}: {error}") from error
        if found.session.binding is not None:
            self._router.install()
        session = self._session_here()
        # Two threads may come here at once, and find the same. No thread was started before it was configured.
        with leaf_lock():
            if not self._configured:
                self._default_lifetime, self._max_pending = found.default_lifetime, found.max_pending
                self._connect_timeout = found.connect_timeout
                self._settings = session.settings = found.session
                # Last: until then a forked child, or a thread that was interrupted, does it again.
                self._configured = True
        if self.closed:
            self._router.uninstall()

    def _watch_results(
        self, given: Any, lifetime: float | DefaultLifetime | None, on_update: UpdateCallback | None
    ) -> list[CeleryResultFuture]:
        """Watch ids and results; those of eager tasks have ended already."""
        finished: dict[int, CeleryResultFuture] = {}
        for place, value in enumerate(given if isinstance(given, list) else ()):
            if isinstance(value, AsyncResult) and value.ignored:
                raise NotWatchableError(f"the result of task {value.id!r} is ignored: it will never be stored")
            if isinstance(value, EagerResult):
                finished[place] = finished_future(self, value, on_update)
        if not finished:
            return super().watch_many(given, lifetime=lifetime, on_update=on_update)  # type: ignore[return-value]
        others = [value for place, value in enumerate(given) if place not in finished]
        pending = iter(super().watch_many(others, lifetime=lifetime, on_update=on_update))
        return [finished[place] if place in finished else next(pending) for place in range(len(given))]  # type: ignore[misc]


def _not_configured(**_: Any) -> NoReturn:
    raise AssertionError("the thread of a watcher that was not configured was started")
