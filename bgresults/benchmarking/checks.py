"""What has to hold, and whether it does.

A figure is judged by the confidence bound of its median over the rounds, and not by the median: what holds, holds again
in the next run. Counts have to be right in every round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bgresults.benchmarking.arithmetic import Summary, bound, ratios, summarise

__all__ = ["AtMost", "AtMostTimes", "Check", "Exactly", "Growth", "NeverAbove", "Ratio", "Records", "Verdict"]

#: metric → contender → one value per round, in the question's unit.
Records = Mapping[str, Mapping[str, Sequence[float]]]

OURS = "bgresults"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        what: the check in words.
        rounds: what is judged, one value for each round.
        more_is_better: else less is.
        value: the median over the rounds, and the spread.
        bound: the confidence bound of the median, see :func:`~bgresults.benchmarking.arithmetic.bound`.
        text: the median and the spread for people.
        bound_text: the bound for people.
        floor: the floor as text.
        goal: the goal as text; empty if there is none.
        floor_holds, goal_holds: judged by the bound.
        median_holds: whether the floor holds for the median.
    """

    what: str
    rounds: Sequence[float]
    more_is_better: bool
    value: Summary
    bound: float
    text: str
    bound_text: str
    floor: str
    goal: str
    floor_holds: bool
    goal_holds: bool
    median_holds: bool

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        if self.floor_holds:
            return "goal" if self.goal and self.goal_holds else "floor"
        return "NOT CERTAIN" if self.median_holds else "BELOW THE FLOOR"


class Check(Protocol):
    """Something that has to hold of what was recorded."""

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        ...


@dataclass(frozen=True)
class Ratio:
    """Theirs must take at least so many times what ours takes.

    Attributes:
        metric: what is compared.
        theirs: contenders; the one with the better median is the baseline.
        floor, goal: factors.
        ours: the contender that is judged.
        label: what the baseline is called.
        more_is_better: of a rate; then ours must be at least so many times theirs.
    """

    metric: str
    theirs: tuple[str, ...]
    floor: float
    goal: float
    ours: str = OURS
    label: str = "Celery"
    more_is_better: bool = False

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        measured = records[self.metric]
        pick = max if self.more_is_better else min
        best = pick(self.theirs, key=lambda name: summarise(measured[name]).median)
        if self.more_is_better:
            what = f"{self.metric}: {self.ours} / {self.label}"
            factors = ratios(measured[self.ours], measured[best])
        else:
            what = f"{self.metric}: {self.label} / {self.ours}"
            factors = ratios(measured[best], measured[self.ours])
        return _judged(what, factors, (self.floor, self.goal), "x", more_is_better=True, besides=f"; {best}")


@dataclass(frozen=True)
class AtMostTimes:
    """Ours must not take more than so many times what another one takes.

    Attributes:
        metric: what is compared.
        than: the other one.
        floor, goal: factors.
        ours: the contender that is judged.
    """

    metric: str
    than: str
    floor: float
    goal: float
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        factors = ratios(records[self.metric][self.ours], records[self.metric][self.than])
        return _judged(f"{self.metric}: {self.ours} / {self.than}", factors, (self.floor, self.goal), "x")


@dataclass(frozen=True)
class Growth:
    """A metric must not be more than so many times the least of others.

    Attributes:
        metric: the one with much.
        smaller: those with less; the one with the lowest median is the baseline.
        floor, goal: factors.
        ours: the contender that is judged.
    """

    metric: str
    smaller: tuple[str, ...]
    floor: float
    goal: float
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        least = min(self.smaller, key=lambda metric: summarise(records[metric][self.ours]).median)
        factors = ratios(records[self.metric][self.ours], records[least][self.ours])
        return _judged(f"{self.metric} / {least}: {self.ours}", factors, (self.floor, self.goal), "x")


@dataclass(frozen=True)
class AtMost:
    """Ours must not exceed a limit.

    Attributes:
        metric: what is limited.
        floor: the limit in the question's unit.
        goal: a lower one; None if the floor is all there is.
        unit: for people; may be empty, if the metric says it.
        ours: the contender that is judged.
    """

    metric: str
    floor: float
    goal: float | None = None
    unit: str = ""
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        values = records[self.metric][self.ours]
        unit = f" {self.unit}" if self.unit else ""
        return _judged(f"{self.metric}: {self.ours}", values, (self.floor, self.goal), unit)


@dataclass(frozen=True)
class NeverAbove:
    """A count that must not exceed a limit in any round.

    Attributes:
        metric: what is counted.
        limit: the most there may be.
        ours: the contender that is judged.
    """

    metric: str
    limit: float
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        return _counted(self.metric, self.ours, records, f"<= {self.limit:g}", (float("-inf"), self.limit))


@dataclass(frozen=True)
class Exactly:
    """A count that must be the same in every round.

    Attributes:
        metric: what is counted.
        expected: the count.
        ours: the contender that is judged.
    """

    metric: str
    expected: float
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        return _counted(self.metric, self.ours, records, f"= {self.expected:g}", (self.expected, self.expected))


def _judged(
    what: str,
    values: Sequence[float],
    limits: tuple[float, float | None],
    unit: str,
    *,
    more_is_better: bool = False,
    besides: str = "",
) -> Verdict:
    """A figure with limits on one side."""
    value, worst = summarise(values), bound(values, lower=more_is_better)
    floor, goal = limits
    sign = ">=" if more_is_better else "<="

    def holds(figure: float, limit: float | None) -> bool:
        return limit is not None and (figure >= limit if more_is_better else figure <= limit)

    return Verdict(
        what=what,
        rounds=list(values),
        more_is_better=more_is_better,
        value=value,
        bound=worst,
        text=f"{value.median:.4g}{unit} ({value.low:.4g}-{value.high:.4g}{besides})",
        bound_text=f"{sign} {worst:.4g}{unit}",
        floor=f"{sign} {floor:g}{unit}",
        goal="" if goal is None else f"{sign} {goal:g}{unit}",
        floor_holds=holds(worst, floor),
        goal_holds=holds(worst, goal),
        median_holds=holds(value.median, floor),
    )


def _counted(metric: str, ours: str, records: Records, floor: str, limits: tuple[float, float]) -> Verdict:
    values = records[metric][ours]
    value = summarise(values)
    holds = limits[0] <= value.low and value.high <= limits[1]
    return Verdict(
        what=f"{metric}: {ours}",
        rounds=list(values),
        more_is_better=False,
        value=value,
        bound=value.high,
        text=f"{value.median:g} ({value.low:g}-{value.high:g})",
        bound_text=f"<= {value.high:g}",
        floor=floor,
        goal="",
        floor_holds=holds,
        goal_holds=holds,
        # One wrong round is wrong.
        median_holds=holds,
    )
