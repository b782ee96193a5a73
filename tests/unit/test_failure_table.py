"""``docs/failures.md``: every row of it is proved by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.nodes import is_a_test

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "failures.md"
COLUMNS = ["what happens", "what the caller sees", "what the log says", "how it ends", "test"]


def rows() -> list[list[str]]:
    """The cells of every row of every table; each table begins with the names of the columns, and a line."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row not in (COLUMNS, ["---"] * len(COLUMNS))]


ROWS = rows()


def test_there_are_rows() -> None:
    assert len(ROWS) > 60
    assert len({row[0] for row in ROWS}) == len(ROWS), "each thing happens once"


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in ROWS])
def test_a_row_is_proved(row: list[str]) -> None:
    assert len(row) == len(COLUMNS)
    assert all(row), "no cell is empty"
    nodes = re.findall(r"`([^`]+)`", row[-1])
    assert nodes
    assert ", ".join(f"`{node}`" for node in nodes) == row[-1], "nothing but tests"
    missing = [node for node in nodes if not is_a_test(ROOT, node)]
    assert not missing


@pytest.mark.parametrize(
    ("node", "there"),
    [
        ("tests/unit/test_failure_table.py::test_there_are_rows", True),
        ("tests/unit/test_failure_table.py::rows", False),
        ("tests/unit/test_failure_table.py::test_missing", False),
        ("tests/unit/test_failure_table.py", False),
        ("tests/unit/no_such_file.py::test_there_are_rows", False),
        ("tests/unit/test_pending.py::TestOneThread::test_take", True),
        ("tests/unit/test_pending.py::test_take", False),
        ("tests/unit/test_pending.py::TestOneThread", False),
    ],
)
def test_what_counts_as_a_test(node: str, there: bool) -> None:
    assert is_a_test(ROOT, node) is there


def test_the_readme_leads_here() -> None:
    assert "(docs/failures.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
