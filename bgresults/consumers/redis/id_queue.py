""":class:`IdQueue`: distinct task ids, first in first out, any of which can be taken back. Pure data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["IdQueue"]

_SMALL = 64


class IdQueue:
    """A dict alone would do, were it not that finding the first key of a large dict whose first keys were deleted
    means to walk over all of them, every time. So the order is kept beside it, with stale ids in it until they come up.
    """

    __slots__ = ("_flags", "_order")

    def __init__(self, task_ids: Iterable[str] = ()) -> None:
        self._flags: dict[str, bool] = dict.fromkeys(task_ids, False)
        self._order: deque[str] = deque(self._flags)

    def __len__(self) -> int:
        return len(self._flags)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._flags

    def add(self, task_id: str, flag: bool = False) -> None:
        """Append an id; one that waits already keeps its place, and gets the new flag."""
        if task_id not in self._flags:
            self._order.append(task_id)
            if len(self._order) > 2 * len(self._flags) + _SMALL:
                self._order = deque(dict.fromkeys(queued for queued in self._order if queued in self._flags))
                self._order.append(task_id)
        self._flags[task_id] = flag

    def discard(self, task_id: str) -> bool:
        """Take an id back; False if it was not there."""
        return self._flags.pop(task_id, None) is not None

    def flag(self, task_id: str) -> bool:
        """The flag of an id; False if it is not there."""
        return self._flags.get(task_id, False)

    def pop(self, count: int) -> list[tuple[str, bool]]:
        """Take the first ``count`` ids, or all if there are fewer, with their flags."""
        taken: list[tuple[str, bool]] = []
        while self._order and len(taken) < count:
            task_id = self._order.popleft()
            flag = self._flags.pop(task_id, None)
            if flag is not None:
                taken.append((task_id, flag))
        return taken
