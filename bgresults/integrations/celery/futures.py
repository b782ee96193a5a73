""":class:`CeleryResultFuture`: a future of a task that knows the application it was sent with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery._state import task_join_will_block
from celery.result import E_WOULDBLOCK

from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.registration import take_back

if TYPE_CHECKING:
    from celery import Celery

    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["CeleryResultFuture", "abandon"]


class CeleryResultFuture(ResultFuture):
    """A :class:`~bgresults.ResultFuture` that can revoke its task.

    Waiting for it inside a task raises ``RuntimeError``, as ``AsyncResult.get()`` does: a pool of workers that wait for
    each other stands still. ``celery.result.allow_join_result()`` lifts that, as it does for Celery. A future that is
    done already can be asked anywhere.
    """

    __slots__ = ("_app", "_before")

    _app: Celery
    # Of the last step of a chain: the futures of those before it.
    _before: Sequence[ResultFuture]

    def __init__(
        self,
        task_id: str,
        owner: Any,
        on_update: UpdateCallback | None = None,
        known_generation: int | None = None,
    ) -> None:
        super().__init__(task_id, owner, on_update, known_generation)
        self._app = owner.app

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> None:
        """Tell the workers not to run the task. In the calling thread, over the application's own broker connection.

        The future is not cancelled: a task that was revoked in time ends it with ``TaskRevokedError``.

        Args:
            terminate: end the process that runs it, if one does already.
            signal: to end it with; None for Celery's default, SIGTERM.

        Raises:
            kombu.exceptions.OperationalError: the broker cannot be reached.
        """
        options: dict[str, Any] = {} if signal is None else {"signal": signal}
        self._app.control.revoke(self.task_id, terminate=terminate, **options)

    def _refuse_to_block(self) -> None:
        if task_join_will_block():
            raise RuntimeError(E_WOULDBLOCK)
        super()._refuse_to_block()


def abandon(watcher: AppWatcher, futures: Sequence[CeleryResultFuture]) -> None:
    """Cancel futures that nobody else would end; they may have been taken out of the registry already."""
    take_back(watcher._session_here(), list(futures))
    for future in futures:
        future.cancel()
