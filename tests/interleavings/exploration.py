"""Going through the lines of an operation, one case for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.interleavings.actions import Action
from tests.interleavings.bench import Bench
from tests.interleavings.operations import Operation
from tests.support.stops import Point, chosen, distinct

__all__ = ["Exploration"]


@dataclass(frozen=True)
class Exploration:
    """One way of coming in between.

    Attributes:
        lines: what an operation executes when nobody disturbs it.
        case: does something at one of these lines, by its number; whether the operation came to it.
        times: how often a line is looked at that is executed again and again.
    """

    lines: Callable[[Bench, Operation], list[Point]]
    case: Callable[[Bench, Operation, Action, int], bool]
    times: int = 2

    def some_lines(self, bench: Bench, operation: Operation, actions: list[Action], seed: int) -> None:
        """A sample, and all lines under a lock. Two actions in turn for each."""
        points = self.lines(bench, operation)
        numbers = chosen(points, 1 + len(points) // 4, seed)
        half = len(actions) // 2
        turns = [(number, seed + place + more) for place, number in enumerate(numbers) for more in (0, half)]
        self._check(bench, operation, [(number, actions[turn % len(actions)]) for number, turn in turns])

    def every_line(self, bench: Bench, operation: Operation, action: Action) -> None:
        """All of them."""
        points = self.lines(bench, operation)
        self._check(bench, operation, [(number, action) for number in distinct(points, self.times)])

    def lines_in(self, bench: Bench, operation: Operation, action: Action, functions: set[str]) -> None:
        """All lines in the functions of these names."""
        points = [point for point in self.lines(bench, operation) if point.code.co_name in functions]
        assert {point.code.co_name for point in points} == functions, "the operation does not come there"
        self._check(bench, operation, [(point.number, action) for point in points])

    def _check(self, bench: Bench, operation: Operation, cases: list[tuple[int, Action]]) -> None:
        reached = sum(self.case(bench, operation, action, number) for number, action in cases)
        # Not all: threads that run meanwhile may spare each other some lines, on a loaded machine many.
        assert reached >= 0.1 * len(cases), f"only {reached} of {len(cases)} lines were reached"
        bench.check()
