"""Tasks of which this thread knows, for the moment, that they have not ended: nobody needs to ask the server."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["is_known_unfinished", "known_unfinished"]


class _Here(threading.local):
    task_ids: frozenset[str] = frozenset()


_here = _Here()


@contextmanager
def known_unfinished(task_ids: Iterable[str]) -> Iterator[None]:
    """While it lasts, these are known not to have ended, in this thread."""
    before, _here.task_ids = _here.task_ids, frozenset(task_ids)
    try:
        yield
    finally:
        _here.task_ids = before


def is_known_unfinished(task_id: str) -> bool:
    """Whether it is."""
    return task_id in _here.task_ids
