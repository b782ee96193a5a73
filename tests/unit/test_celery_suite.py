"""The judge of ``make celery-suite``: what counts as a difference between the columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.celery_suite import __main__ as judge
from tests.celery_suite.columns import Outcomes
from tests.celery_suite.reasons import REASONS

EXPLAINED = f"test_somewhere::{next(iter(REASONS))}"
TEST = "test_somewhere::test_that_is_a_race[1]"


class Columns:
    """In place of real runs: what each column has, and what comes of the test when it is run again."""

    def __init__(self, stock: Outcomes, ours: Outcomes, again: list[str]) -> None:
        self.stock, self.ours, self.again = stock, ours, again
        self.selected: list[str] = []

    def run(self, source: Path, name: str, *, drop_in: bool, select: str = "", report: str = "") -> Outcomes:
        if report:
            self.selected.append(select)
            return {TEST: self.again.pop(0)}
        return self.ours if drop_in else self.stock


@pytest.mark.parametrize(
    ("stock", "ours", "again", "code"),
    [
        ("passed", "passed", [], 0),
        ("failed", "passed", [], 0),
        ("passed", "failed", ["passed"] * 3, 0),
        ("passed", "failed", ["passed", "failed", "passed"], 1),
        ("passed", "skipped", ["skipped"] * 3, 1),
    ],
)
def test_a_difference_has_to_go_away_in_three_runs(
    monkeypatch: pytest.MonkeyPatch, stock: str, ours: str, again: list[str], code: int
) -> None:
    columns = Columns({TEST: stock, EXPLAINED: "passed"}, {TEST: ours, EXPLAINED: "failed"}, list(again))
    monkeypatch.setattr(judge, "fetch", lambda folder: folder)
    monkeypatch.setattr(judge, "run_column", columns.run)
    monkeypatch.setattr("sys.argv", ["celery_suite", "rpc"])
    assert judge.main() == code
    assert columns.selected == ["test_that_is_a_race[1]"] * len(again)
