"""What is told of a release: ``docs/support.md`` names tests that exist, and ``CHANGELOG.md`` says nothing twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.nodes import is_a_test

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "support.md").read_text()
ROWS = [
    line.strip("|").split("|")
    for line in PAGE.splitlines()
    if line.startswith("| ") and not {"shown by", "---"} & {cell.strip() for cell in line.split("|")}
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_a_line_is_shown_by_something(row: list[str]) -> None:
    _, versions, shown = row
    assert versions.strip()
    named = re.findall(r"`(tests/[^`]+|make [^`]+)`", shown)
    assert named or shown.strip() == "the same" or "on PATH" in shown
    for name in named:
        if name.startswith("make "):
            assert name.removeprefix("make ") in TARGETS
        else:
            assert is_a_test(ROOT, name) if "::" in name else (ROOT / name).exists()


def test_it_says_what_the_package_says() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for what, pattern in (("Python, on Linux", r"Language :: Python :: (3\.\d+)"), ("Django", r"Django :: (\d\.\d)")):
        (versions,) = (row[1] for row in ROWS if row[0].strip() == what)
        assert set(re.findall(pattern, project)) <= set(re.findall(r"\d\.\d+", versions))


def test_the_oldest_packages_are_those_that_are_allowed() -> None:
    """``make test-all`` asks the versions that pyproject.toml has as the lowest, where they exist and go together."""
    project = (ROOT / "pyproject.toml").read_text()
    pins = re.findall(r"^([A-Za-z-]+)==([\d.]+)", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE)
    # The first of several is for the oldest Python.
    pinned = dict(reversed(pins))
    allowed = dict(re.findall(r'"([A-Za-z-]+)>=([\d.]+)', project))
    for name in allowed.keys() & pinned.keys() - {"click", "hiredis"}:
        assert pinned[name].startswith(allowed[name]), name
    assert pinned.keys() >= {"Django", "Flask", "celery", "hiredis", "kombu", "redis", "tenacity"}


def test_the_changelog_says_nothing_twice() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    items = [" ".join(item.split("\n#")[0].split()) for item in text.split("\n- ")[1:]]
    assert sorted(set(items)) == sorted(items)
