""":class:`IdQueue`: distinct task ids, first in first out, any of which can be taken back. Pure data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

__all__ = ["IdQueue"]

_SMALL = 64


class IdQueue:
    """A dict alone would do, were it not that finding the first key of a large dict whose first keys were deleted
    means to walk over all of them, every time. So the order is kept beside a set, with stale ids in it until they come
    up. Whatever is in the set has a place in the order, at any moment: a signal handler may raise at any.
    """

    __slots__ = ("_order", "_waiting")

    def __init__(self, task_ids: Iterable[str] = ()) -> None:
        self._order: deque[str] = deque(dict.fromkeys(task_ids))
        self._waiting: set[str] = set(self._order)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def add(self, task_id: str) -> None:
        """Append an id; one that waits already keeps its place."""
        if task_id not in self._waiting:
            self._order.append(task_id)
            self._waiting.add(task_id)

    def extend(self, task_ids: Iterable[str]) -> None:
        """:meth:`add` for many ids, without a step for each."""
        waiting = self._waiting
        fresh = [task_id for task_id in task_ids if task_id not in waiting]
        # One that is given twice has a second place, which is stale when it comes up.
        self._order.extend(fresh)
        waiting.update(fresh)
        self._compact()

    def discard(self, task_id: str) -> bool:
        """Take an id back; False if it was not there."""
        if task_id in self._waiting:
            self._waiting.remove(task_id)
            self._compact()
            return True
        return False

    def pop(self, count: int) -> list[str]:
        """Take the first ``count`` ids, or all if there are fewer."""
        order, waiting = self._order, self._waiting
        if len(order) == len(waiting):
            # Each id has one place, and none is stale: no need to ask for each.
            taken = list(islice(order, count))
            waiting.difference_update(taken)
            for _ in taken:
                order.popleft()
            return taken
        taken = []
        while order and len(taken) < count:
            task_id = order.popleft()
            if task_id in waiting:
                waiting.remove(task_id)
                taken.append(task_id)
        return taken

    def _compact(self) -> None:
        """If most places are stale, leave these out."""
        if len(self._order) > 2 * len(self._waiting) + _SMALL:
            self._order = deque(dict.fromkeys(task_id for task_id in self._order if task_id in self._waiting))
