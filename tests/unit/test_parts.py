"""``make test`` runs all tests, in parts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests import parts

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_in_a_part_the_last_one_leaves_out() -> None:
    *some, rest = parts.commands(["-x"])
    named = list(chain.from_iterable(parts.PARTS))
    assert [command[-len(folders) :] for command, folders in zip(some, parts.PARTS, strict=True)] == [
        list(folders) for folders in parts.PARTS
    ]
    assert rest[-len(named) - 1 :] == ["tests", *(f"--ignore={folder}" for folder in named)]
    assert all("-x" in command for command in (*some, rest))
    assert len(set(named)) == len(named)
    assert all((ROOT / folder).is_dir() for folder in named)


def test_a_folder_apart_is_one_more_part() -> None:
    *some, first, second, rest = parts.commands(["-x"], parts.APART)
    assert len(some) == len(parts.PARTS)
    assert [first[-1], second[-1]] == list(parts.APART)
    assert all(f"--ignore={folder}" in rest for folder in parts.APART)
    assert not any(folder in folders for folder in parts.APART for folders in parts.PARTS)
    assert all((ROOT / folder).is_dir() for folder in parts.APART)


def test_only_what_may_be_apart_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parts.main(["--apart", "tests/faults"])
    assert "invalid choice: 'tests/faults'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "second", "third", "code"),
    [
        (0, 0, 0, 0),
        (0, 5, 0, 0),
        (5, 5, 0, 0),
        (5, 5, 5, 5),
        (1, 0, 0, 1),
        (0, 1, 0, 1),
        (0, 0, 1, 1),
        (5, 2, 1, 2),
    ],
)
def test_the_worst_counts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: int,
    second: int,
    third: int,
    code: int,
) -> None:
    def exiting(number: int) -> list[str]:
        return ["/bin/sh", "-c", f"echo ended with {number}; exit {number}"]

    monkeypatch.setattr(parts, "commands", lambda *_: [exiting(number) for number in (first, second, third)])
    assert parts.main([]) == code
    printed = capsys.readouterr().out
    assert printed.index(f"ended with {second}") < printed.index("part 3 of 3")
    assert f"ended with {third}" in printed[printed.index("part 3 of 3") :]
