"""What has to hold, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bgresults.benchmarking.arithmetic import Summary, ratios, summarise

__all__ = ["AtMost", "Check", "Exactly", "NeverAbove", "Ratio", "Records", "Verdict"]

#: metric → contender → one value per round, in the question's unit.
Records = Mapping[str, Mapping[str, Sequence[float]]]

OURS = "bgresults"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        what: the check in words.
        value: the median over the rounds, and the spread.
        text: the same for people.
        floor: the floor as text.
        goal: the goal as text; empty if there is none.
        floor_holds, goal_holds: judged by the median.
        every_round: whether the floor held in each single round.
    """

    what: str
    value: Summary
    text: str
    floor: str
    goal: str
    floor_holds: bool
    goal_holds: bool
    every_round: bool

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        if not self.floor_holds:
            return "BELOW THE FLOOR"
        return "goal" if self.goal and self.goal_holds else "floor"


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
        value = summarise(factors)
        return Verdict(
            what=what,
            value=value,
            text=f"{value.median:.1f}x ({value.low:.1f}-{value.high:.1f}; {best})",
            floor=f">= {self.floor:g}x",
            goal=f">= {self.goal:g}x",
            floor_holds=value.median >= self.floor,
            goal_holds=value.median >= self.goal,
            every_round=value.low >= self.floor,
        )


@dataclass(frozen=True)
class AtMost:
    """Ours must not exceed a limit.

    Attributes:
        metric: what is limited.
        floor, goal: limits in the question's unit.
        unit: for people.
        ours: the contender that is judged.
    """

    metric: str
    floor: float
    goal: float
    unit: str
    ours: str = OURS

    def judge(self, records: Records) -> Verdict:
        """Judge it."""
        value = summarise(records[self.metric][self.ours])
        return Verdict(
            what=f"{self.metric}: {self.ours}",
            value=value,
            text=f"{value.median:.4g} {self.unit} ({value.low:.4g}-{value.high:.4g})",
            floor=f"<= {self.floor:g} {self.unit}",
            goal=f"<= {self.goal:g} {self.unit}",
            floor_holds=value.median <= self.floor,
            goal_holds=value.median <= self.goal,
            every_round=value.high <= self.floor,
        )


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


def _counted(metric: str, ours: str, records: Records, floor: str, limits: tuple[float, float]) -> Verdict:
    value = summarise(records[metric][ours])
    holds = limits[0] <= value.low and value.high <= limits[1]
    return Verdict(
        what=f"{metric}: {ours}",
        value=value,
        text=f"{value.median:g} ({value.low:g}-{value.high:g})",
        floor=floor,
        goal="",
        floor_holds=holds,
        goal_holds=holds,
        every_round=holds,
    )
