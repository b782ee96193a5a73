"""Percentiles and the like, without a dependency."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CONFIDENCE", "Summary", "bound", "percentile", "ratios", "summarise"]

#: With which a median is at least as good as its bound.
CONFIDENCE = 0.95


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


def bound(values: Sequence[float], *, lower: bool) -> float:
    """The one-sided confidence bound of the median, at :data:`CONFIDENCE`, that takes no distribution for granted.

    A round is above the true median as often as below. So that all of five rounds are above it has a chance of 1 in 32,
    and the lowest of five is a lower bound; of eight it is the second lowest, of eleven the third. Fewer than five
    rounds have no such bound: then it is the worst of them.

    Args:
        values: one for each round.
        lower: whether less is worse; else the bound is an upper one.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a bound of nothing")
    count = len(values)
    place, chance = 0, 1 / 2**count
    # The chance that no more than `place + 1` rounds are on the wrong side of the median.
    while place + 1 < count and chance + math.comb(count, place + 1) / 2**count <= 1 - CONFIDENCE:
        place += 1
        chance += math.comb(count, place) / 2**count
    return sorted(values, reverse=not lower)[place]
