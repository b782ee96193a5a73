"""How long another client of a server waits for an answer, meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bgresults.benchmarking.arithmetic import percentile

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Pinger"]


class Pinger:
    """Asks a server something small again and again, in a thread of its own, from ``with`` to its end.

    Args:
        ask: returns when it is answered.
        pause: seconds between two questions.

    Attributes:
        taken: seconds that each answer took.
    """

    def __init__(self, ask: Callable[[], object], pause: float = 0.005) -> None:
        self._ask = ask
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self.taken: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __str__(self) -> str:
        figures = [percentile(self.taken, 50), percentile(self.taken, 99), max(self.taken)]
        p50, p99, most = (figure * 1000 for figure in figures)
        return f"{len(self.taken)} answers, p50 {p50:.2f} ms, p99 {p99:.1f} ms, longest {most:.0f} ms"

    def _go_on(self) -> None:
        while not self._over.wait(self._pause):
            started = time.monotonic()
            self._ask()
            self.taken.append(time.monotonic() - started)
