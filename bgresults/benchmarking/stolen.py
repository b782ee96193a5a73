"""Time during which a virtual machine was not given the processors it wanted: its host gave them to another one.

A machine that is shared stands still for tens of milliseconds now and then. Whichever contender is measured at that
moment is slow, and its p99 is that of the host.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["Disturbance"]

# Linux counts in hundredths of a second, for all processors together.
_TICK = 0.01
_STEAL = 8
# What is normal: a few ticks, and so much of the time.
_TOLERATED = 0.03
_TOLERATED_SHARE = 0.01


class Disturbance:
    """Whether more was taken than is normal, since this was made. Never, where nobody counts."""

    def __init__(self, source: Path = Path("/proc/stat")) -> None:
        self._source = source
        self._before = self._stolen()

    def is_more_than_normal(self, seconds: float) -> bool:
        """Of the ``seconds`` since."""
        return self._stolen() - self._before > _TOLERATED + _TOLERATED_SHARE * seconds

    def _stolen(self) -> float:
        try:
            fields = self._source.read_text(encoding="ascii").split("\n", 1)[0].split()
            return int(fields[_STEAL]) * _TICK
        except (OSError, IndexError, ValueError):
            return 0.0
