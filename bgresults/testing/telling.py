""":class:`StateTeller`: says what has become of a task, in the place of its worker."""

from __future__ import annotations

import abc
from typing import Any

from kombu.exceptions import EncodeError

from bgresults.errors import TaskRevokedError
from bgresults.futures import ResultFuture
from bgresults.meta import READY_STATES, Decoder
from bgresults.task_ids import TaskId, task_id_of
from bgresults.testing.encoding import check_exception, encoded_state
from bgresults.testing.memory import Stored
from bgresults.testing.rules import check_state

__all__ = ["StateTeller"]


class StateTeller(abc.ABC):
    """Writes states where watchers find them. Any thread.

    Args:
        serializer: of the results.
    """

    def __init__(self, serializer: str = "json") -> None:
        # Refuses what is unknown.
        Decoder(serializer)
        self._serializer = serializer

    def resolve(self, task_id: TaskId | ResultFuture, value: Any = None) -> None:
        """The task has returned ``value``.

        Kept, like a result that is stored, for those who watch it later. A value that cannot be serialized ends the
        task as it does in a worker: with kombu's ``EncodeError``.

        Args:
            task_id: as for ``watch()``; or a future.
            value: what it returned.

        Raises:
            ValueError: the task has ended already.
            TypeError, ValueError: the id makes no sense.
        """
        self._write(self._about(task_id), "SUCCESS", value)

    def fail(self, task_id: TaskId | ResultFuture, error: Exception | type[Exception]) -> None:
        """The task has raised ``error``.

        Args:
            task_id: as for :meth:`resolve`.
            error: an exception, or a class of which one is made without arguments. The future raises one of the same
                class, with the same arguments, as far as they can be serialized.

        Raises:
            TypeError: it is none that a task can end with.
            As :meth:`resolve`.
        """
        exception = check_exception(error)
        self._write(self._about(task_id), "FAILURE", exception)

    def progress(self, task_id: TaskId | ResultFuture, meta: Any = None, *, state: str = "PROGRESS") -> None:
        """The task has said how far it is, with ``update_state(state=state, meta=meta)``.

        Args:
            task_id: as for :meth:`resolve`.
            meta: any value, which becomes ``TaskMeta.result``.
            state: name of the state, such as ``"STARTED"``.

        Raises:
            ValueError: the state is a final one.
            kombu.exceptions.EncodeError: the details cannot be serialized.
            As :meth:`resolve`.
        """
        check_state(state)
        self._write(self._about(task_id), state, meta)

    def revoke(self, task_id: TaskId | ResultFuture, reason: str = "revoked") -> None:
        """The task was revoked. ``future.revoke()``, and all that tells workers to revoke a task, does this as well.

        Args:
            task_id: as for :meth:`resolve`.
            reason: what a worker says of it: ``"revoked"``, ``"terminated"`` or ``"expired"``.

        Raises:
            As :meth:`resolve`.
        """
        self._write(self._about(task_id), "REVOKED", TaskRevokedError(reason))

    # -- inside ------------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _publish(self, task_id: str, stored: Stored) -> None:
        """Keep a state, and tell it."""

    @abc.abstractmethod
    def _stored(self, task_id: str) -> Stored | None:
        """The last state of a task."""

    def _about(self, task_id: Any) -> str:
        """The id of a task that has not ended."""
        key = task_id.task_id if isinstance(task_id, ResultFuture) else task_id_of(task_id)
        status = self._status(key)
        if status in READY_STATES:
            raise ValueError(f"task {key!r} has ended already: {status}")
        return key

    def _status(self, task_id: str) -> str | None:
        stored = self._stored(task_id)
        if stored is None:
            return None
        decoder = Decoder(stored.content_type, max_body_size=None)
        return str(decoder.decode(stored.payload)["status"])

    def _serializer_now(self) -> str:
        return self._serializer

    def _write(self, task_id: str, status: str, result: Any) -> None:
        """Do what a worker does in the end."""
        try:
            stored = encoded_state(task_id, status, result, self._serializer_now())
        except EncodeError as error:
            if status != "SUCCESS":
                raise
            # A worker finds out when the task has returned. For it, the task has failed.
            stored = encoded_state(task_id, "FAILURE", error, self._serializer_now())
        self._publish(task_id, stored)
