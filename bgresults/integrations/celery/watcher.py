""":class:`CeleryResultWatcher`: a watcher that sends the tasks of its Celery application, too."""

from __future__ import annotations

from typing import Any, overload

from bgresults.futures import UpdateCallback
from bgresults.integrations.celery.app_watcher import AppWatcher
from bgresults.integrations.celery.futures import CeleryResultFuture
from bgresults.integrations.celery.groups import GroupFutures
from bgresults.integrations.celery.on_commit import on_commit
from bgresults.integrations.celery.sendable import ManyTasks, OneTask, SomeTasks
from bgresults.integrations.celery.submission import Request, Submission, run_request, submit
from bgresults.lifetimes import DEFAULT_LIFETIME, DefaultLifetime

__all__ = ["CeleryResultWatcher"]


class CeleryResultWatcher(AppWatcher):
    """Watches the results of a Celery application, and sends tasks that are watched from the start.

    Made by :meth:`ResultWatcher.from_celery`. The application is asked for its settings when the watcher is first used,
    so it may be configured later than this is made.
    """

    @overload
    def submit(
        self,
        task: ManyTasks,
        args: Any = None,
        kwargs: Any = None,
        *,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> GroupFutures: ...
    @overload
    def submit(
        self,
        task: SomeTasks,
        args: Any = None,
        kwargs: Any = None,
        *,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture | Any: ...
    @overload
    def submit(
        self,
        task: OneTask,
        args: Any = None,
        kwargs: Any = None,
        *,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture: ...
    def submit(
        self,
        task: Any,
        args: Any = None,
        kwargs: Any = None,
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture | GroupFutures:
        """Send a task that is watched before it is sent, so that nothing can be missed.

        Args:
            task: a task, the name of one, or a signature; of a chain, the result is that of its last task.
            args, kwargs: of the task; for a signature, what its partial arguments miss.
            lifetime, on_update: as in :meth:`watch`.
            expires: as in ``apply_async()``; or ``"watch"``: when the watch ends, a worker need not begin any more.
            revoke_on_timeout: revoke the task when its watch expires.
            task_id: None for a new one.
            options: more of ``apply_async()``, such as ``queue`` or ``countdown``.

        Returns:
            A future; of a group or a chord, what :meth:`watch_group` returns. If the task cannot be sent, the future
            has ended with the reason, and nothing is watched. If the backend is known to be unusable, it has ended
            with ``BackendUnavailableError``, and nothing is sent. In eager mode it has ended with the result.

        Raises:
            TypeError, ValueError: an argument makes no sense, or the task's result is ignored.
            As :meth:`watch`.
        """
        request = Request(task, args, kwargs, lifetime, on_update, expires, revoke_on_timeout, task_id, options)
        if self.app.conf.task_always_eager:
            return run_request(self, request)
        return submit(self, request, Submission.send)

    @overload
    def submit_on_commit(
        self,
        task: ManyTasks,
        args: Any = None,
        kwargs: Any = None,
        *,
        using: str | None = None,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> GroupFutures: ...
    @overload
    def submit_on_commit(
        self,
        task: SomeTasks,
        args: Any = None,
        kwargs: Any = None,
        *,
        using: str | None = None,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture | Any: ...
    @overload
    def submit_on_commit(
        self,
        task: OneTask,
        args: Any = None,
        kwargs: Any = None,
        *,
        using: str | None = None,
        lifetime: float | DefaultLifetime | None = ...,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture: ...
    def submit_on_commit(
        self,
        task: Any,
        args: Any = None,
        kwargs: Any = None,
        *,
        using: str | None = None,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
        expires: Any = None,
        revoke_on_timeout: bool = False,
        task_id: str | None = None,
        **options: Any,
    ) -> CeleryResultFuture | GroupFutures:
        """:meth:`submit`, sent when Django's current transaction commits; at once where there is none.

        The watch begins now. After a rollback, the future is cancelled. Do not wait for it inside of the transaction:
        the task is not sent before its end.

        Args:
            using: alias of the database; None for the default one.
            task, …, options: as for :meth:`submit`.

        Raises:
            ImportError: Django is not installed.
            As :meth:`submit`.
        """
        request = Request(task, args, kwargs, lifetime, on_update, expires, revoke_on_timeout, task_id, options)
        return submit(self, request, lambda submission: on_commit(submission.send, submission.give_up, using))
