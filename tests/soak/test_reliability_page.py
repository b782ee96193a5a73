"""``docs/reliability.md`` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.nodes import is_a_test

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_question_has_tests() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| R\d", line)]
    assert [row[0] for row in rows] == [f"| R{number}" for number in range(1, 12)]
    assert all("::" in row[2] for row in rows)


def test_the_tests_exist() -> None:
    nodes = re.findall(r"`(tests/[^` ]+::[^`]+)`", PAGE)
    assert len(nodes) > 30
    assert [node for node in nodes if not is_a_test(ROOT, node)] == []


def test_the_readme_leads_here() -> None:
    assert "(docs/reliability.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
