"""What the threads have achieved so far: written by all of them, read by the display."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bgresults import TaskMeta
from bgresults.demo.plan import KINDS

__all__ = ["Board", "Figures", "percentile"]


@dataclass(frozen=True)
class Figures:
    """What is left of a run when it is over.

    Attributes:
        title: the way of waiting.
        ended: kind → tasks that ended as they should.
        problems: what did not.
        updates: progress reports that were seen while their tasks ran; None where the way offers none.
        seconds: from the sending of a task to its result, in order.
        connections: the most at any moment; None if they cannot be counted.
    """

    title: str
    ended: dict[str, int]
    problems: list[str]
    updates: int | None
    seconds: list[float]
    connections: int | None


@dataclass
class Board:
    """One run, while it lasts."""

    title: str
    total: int
    sees_updates: bool
    ended: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waiting: int = 0
    updates: int = 0
    connections: int | None = None
    #: task id → done, of: what runs now.
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sending(self) -> None:
        """A thread has a task on its way."""
        with self._lock:
            self.waiting += 1

    def finished(self, kind: str, task_id: str, seconds: float | None, problem: str | None) -> None:
        """A thread has its result; ``seconds`` is None if they do not count."""
        with self._lock:
            self.waiting -= 1
            self.running.pop(task_id, None)
            if problem is None:
                self.ended[kind] += 1
            else:
                self.problems.append(problem)
            if seconds is not None:
                self.seconds.append(seconds)

    def progressed(self, meta: TaskMeta) -> None:
        """A task says how far it is: the watch's ``on_update``, which runs on the drain thread and must be quick."""
        if meta.ready or not isinstance(meta.result, dict):
            return
        with self._lock:
            self.updates += 1
            self.running[meta.task_id] = (meta.result.get("done", 0), meta.result.get("of", 0))

    def connected(self, count: int | None) -> None:
        """So many connections there are now."""
        if count is not None:
            self.connections = max(count, self.connections or 0)

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return sum(self.ended.values()) + len(self.problems)

    def in_progress(self) -> list[tuple[str, int, int]]:
        """Task id, done, of: of the tasks that report now."""
        with self._lock:
            return [(task_id, *steps) for task_id, steps in self.running.items()]

    def figures(self) -> Figures:
        """The outcome."""
        with self._lock:
            return Figures(
                self.title,
                {kind: self.ended[kind] for kind in KINDS},
                list(self.problems),
                self.updates if self.sees_updates else None,
                sorted(self.seconds),
                self.connections,
            )


def percentile(ordered: Sequence[float], share: int) -> float:
    """The value that ``share`` percent of the ordered values do not exceed; 0 if there are none."""
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)] if ordered else 0.0
