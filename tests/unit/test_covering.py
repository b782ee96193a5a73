"""``make coverage`` runs the tests of every folder but those that it says why not."""

from __future__ import annotations

from pathlib import Path

from tests import covering

ROOT = Path(__file__).resolve().parents[2]


def test_no_folder_of_tests_is_forgotten() -> None:
    there = {path.parent.name for path in ROOT.glob("tests/*/test_*.py")}
    assert there - set(covering.FOLDERS) - set(covering.NOT_MEASURED) == set()


def test_what_is_measured_apart_is_there() -> None:
    assert all(any(ROOT.glob(pattern)) for pattern in covering.APART)


def test_the_page_gives_a_reason_for_each_of_them() -> None:
    page = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    for name in [*(f"tests/{name}" for name in covering.NOT_MEASURED), *covering.APART]:
        assert name.removesuffix("/*") in page
    assert f"{covering.FLOOR} %" in page
