"""Looking at a number again and again while a test does other things."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.waiting import wait_until

__all__ = ["Sampler"]


class Sampler:
    """Asks for a number in a thread of its own, from ``with`` to its end, and remembers the largest.

    Args:
        look: what to ask.
        during: samples that are taken while this holds are counted apart as well.
        interval: seconds between two of them.

    Attributes:
        taken: how many samples there are.
        taken_during: how many of them while ``during()`` held.
        most: the largest.
    """

    def __init__(
        self, look: Callable[[], int], *, during: Callable[[], object] = lambda: True, interval: float = 0.002
    ) -> None:
        self._look = look
        self._during = during
        self._interval = interval
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.taken = 0
        self.taken_during = 0
        self.most = 0

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_for_more(self, count: int) -> None:
        """Return once there are so many more samples that were taken while ``during()`` held."""
        enough = self.taken_during + count
        wait_until(lambda: self.taken_during >= enough or self._error, "more samples", interval=0.001)

    def _sample(self) -> None:
        try:
            while not self._stop.wait(self._interval):
                before = self._during()
                found = self._look()
                if found > self.most:
                    # The kernel's tables are not read in one moment: one that is gone already and one that is new may
                    # both be counted. Not twice in a row.
                    self.most = max(self.most, min(found, self._look()))
                self.taken += 1
                # What it holds for before and after, it held for at the moment of the look.
                if before and self._during():
                    self.taken_during += 1
        except Exception as error:
            self._error = error
