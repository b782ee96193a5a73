"""``make test`` runs all tests, in two halves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import halves

ROOT = Path(__file__).resolve().parents[2]


def test_what_one_half_runs_the_other_leaves_out() -> None:
    one, other = halves.commands(["-x"])
    assert one[-len(halves.ONE_HALF) :] == list(halves.ONE_HALF)
    assert other[-len(halves.ONE_HALF) - 1] == "tests"
    assert other[-len(halves.ONE_HALF) :] == [f"--ignore={folder}" for folder in halves.ONE_HALF]
    assert all("-x" in command for command in (one, other))
    assert all((ROOT / folder).is_dir() for folder in halves.ONE_HALF)


@pytest.mark.parametrize(
    ("one", "other", "code"), [(0, 0, 0), (0, 5, 0), (5, 0, 0), (5, 5, 5), (1, 0, 1), (0, 1, 1), (2, 1, 2), (5, 1, 1)]
)
def test_the_worse_of_both_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one: int, other: int, code: int
) -> None:
    def exiting(number: int) -> list[str]:
        return ["/bin/sh", "-c", f"echo ended with {number}; exit {number}"]

    monkeypatch.setattr(halves, "commands", lambda _: (exiting(one), exiting(other)))
    assert halves.main([]) == code
    assert f"ended with {other}" in capsys.readouterr().out
