"""A round in which the host took the processors away says nothing, and is measured again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bgresults.benchmarking import lab as lab_module
from bgresults.benchmarking.lab import AnyLab
from bgresults.benchmarking.stolen import Disturbance


def stat(path: Path, ticks: int) -> Path:
    """What Linux says when so many hundredths of a second were stolen."""
    path.write_text(f"cpu  1 2 3 4 5 6 7 {ticks} 0 0\ncpu0 1 2 3 4 5 6 7 {ticks} 0 0\n", encoding="ascii")
    return path


@pytest.mark.parametrize(
    ("ticks", "seconds", "disturbed"),
    [(0, 1, False), (3, 1, False), (5, 1, True), (5, 10, False), (100, 20, True)],
)
def test_what_is_more_than_normal(tmp_path: Path, ticks: int, seconds: float, disturbed: bool) -> None:
    path = stat(tmp_path / "stat", 1000)
    disturbance = Disturbance(path)
    stat(path, 1000 + ticks)
    assert disturbance.is_more_than_normal(seconds) is disturbed


@pytest.mark.parametrize("text", [None, "", "cpu 1 2 3\n"])
def test_where_nobody_counts_nothing_is_disturbed(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "stat"
    if text is not None:
        path.write_text(text, encoding="ascii")
    assert not Disturbance(path).is_more_than_normal(0.0)


@pytest.fixture
def busy_host(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the host is busy: one for each measurement, and then it is not."""
    verdicts: list[bool] = []

    class Canned(Disturbance):
        def is_more_than_normal(self, seconds: float) -> bool:
            return bool(verdicts) and verdicts.pop(0)

    monkeypatch.setattr(lab_module, "Disturbance", Canned)
    # Of all that the tests have imported, a collection before each measurement takes a tenth of a second.
    monkeypatch.setattr(lab_module, "gc", SimpleNamespace(collect=int, freeze=int, unfreeze=int))
    return verdicts


def play(**settings: Any) -> tuple[AnyLab, list[int]]:
    """Three rounds with two measurements each, of which the values are numbered through."""
    lab = AnyLab(None, rounds=3, most=3, settled=lambda _: True, say=lambda _: None, **settings)  # type: ignore[arg-type]
    numbers: list[int] = []
    for number in lab.rounds():
        for contender in ("celery", "bgresults"):
            with lab.measuring():
                lab.record("taken", contender, len(numbers))
        numbers.append(number)
    return lab, numbers


def test_a_disturbed_round_is_measured_again_for_all(busy_host: list[bool]) -> None:
    busy_host.extend([False, False, False, True])
    lab, numbers = play(quick=False)
    assert numbers == [0, 1, 1, 2]
    assert lab.records == {"taken": {"celery": [0, 2, 3], "bgresults": [0, 2, 3]}}
    assert lab.notes == ["1 rounds were measured again: the host took the processors away meanwhile"]


def test_a_host_that_is_always_busy_is_put_up_with(busy_host: list[bool]) -> None:
    busy_host.extend([True] * 100)
    lab, numbers = play(quick=False)
    assert numbers == [0] * 6 + [1, 2]
    assert [len(values) for values in lab.records["taken"].values()] == [3, 3]


def test_rough_figures_are_taken_as_they_come(busy_host: list[bool]) -> None:
    busy_host.extend([True] * 100)
    lab, numbers = play(quick=True)
    assert numbers == [0, 1, 2]
    assert lab.notes == []
