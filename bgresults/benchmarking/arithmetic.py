"""Percentiles and the like, without a dependency."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "percentile", "ratios", "summarise"]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` percent of the values do not exceed (nearest rank).

    No interpolation: a p99 that nobody waited is of no use.

    Raises:
        ValueError: there are no values, or ``share`` is not within 0 and 100.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    if not 0 <= share <= 100:
        raise ValueError(f"share must be within 0 and 100, not {share}")
    # Rounded first: 0.07 * 100 is 7.000000000000001 in floating point, which is no eighth value.
    rank = math.ceil(round(share * len(values) / 100, 9))
    return sorted(values)[max(rank, 1) - 1]


@dataclass(frozen=True)
class Summary:
    """One figure over the rounds.

    Attributes:
        median: of the rounds.
        low, high: of the rounds.
        iqr: the distance between the quartiles; 0 for a single round.
    """

    median: float
    low: float
    high: float
    iqr: float


def summarise(values: Sequence[float]) -> Summary:
    """Summarise one value per round.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a summary of nothing")
    first, _, third = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (0.0, 0.0, 0.0)
    return Summary(statistics.median(values), min(values), max(values), third - first)


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times as much they took, round by round: what disturbs one round disturbs both sides of it.

    Raises:
        ValueError: the numbers of rounds differ.
    """
    return [their / max(our, 1e-12) for their, our in zip(theirs, ours, strict=True)]
