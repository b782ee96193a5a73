"""What a file of ``benchmarks/`` makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bgresults.benchmarking.checks import Check
from bgresults.benchmarking.lab import Lab

__all__ = ["Question"]


@dataclass(frozen=True)
class Question:
    """One question to the library.

    Attributes:
        title: the question, in one line.
        unit: of everything that is recorded.
        checks: what has to hold.
        measure: records one value per metric, contender and round.
        decimals: of a figure in the table.
    """

    title: str
    unit: str
    checks: Sequence[Check]
    measure: Callable[[Lab], None]
    decimals: int = 1
