"""Sending a task when Django's transaction commits."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["on_commit"]


def on_commit(send: Callable[[], None], give_up: Callable[[], None], using: str | None) -> None:
    """Call ``send`` when the current transaction commits, or ``give_up`` when it does not.

    Args:
        send: sends the task. Called at once where there is no transaction.
        give_up: the task will not be sent. Possibly called in the garbage collector: takes no lock.
        using: alias of the database; None for the default one.

    Raises:
        ImportError: Django is not installed.
    """
    try:
        from django.db import transaction
    except ModuleNotFoundError as error:
        raise ImportError("submit_on_commit() needs Django: pip install Django") from error
    transaction.on_commit(_OnCommit(send, give_up), using=using)


class _OnCommit:
    """What Django calls after the commit, once; and drops uncalled after a rollback, which it tells nobody of."""

    def __init__(self, send: Callable[[], None], give_up: Callable[[], None]) -> None:
        self._send = send
        self._give_up = give_up
        self._called = False

    def __call__(self) -> None:
        self._send()
        # Not before: an exception out of a signal handler may have kept it from beginning.
        self._called = True

    def __del__(self) -> None:
        if not self._called:
            self._give_up()
