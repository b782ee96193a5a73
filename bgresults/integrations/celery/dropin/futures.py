""":class:`DropInFuture`: the future behind a result of Celery's."""

from __future__ import annotations

from bgresults.futures import ResultFuture

__all__ = ["DropInFuture"]


class DropInFuture(ResultFuture):
    """Handed to nobody.

    Unlike other futures of an application's watcher it may be waited for inside a task: ``get()`` has refused that
    already, unless it was told otherwise.
    """

    __slots__ = ()
