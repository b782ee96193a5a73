"""What was measured while the host took the processors away says nothing, and is measured again."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture(autouse=True)
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second: four for a measurement with those around it."""
    monkeypatch.setattr(lab_module, "time", SimpleNamespace(monotonic=partial(next, itertools.count())))


def lab_of_three_rounds(*, quick: bool = False) -> AnyLab:
    return AnyLab(None, rounds=3, most=3, settled=lambda _: True, say=lambda _: None, quick=quick)  # type: ignore[arg-type]


def play(lab: AnyLab) -> list[int]:
    """Three rounds with two measurements each, of which the values are numbered through."""
    numbers: list[int] = []
    for number in lab.rounds():
        for contender in ("celery", "bgresults"):
            with lab.measuring():
                lab.record("taken", contender, len(numbers))
        numbers.append(number)
    return numbers


def test_a_disturbed_round_is_measured_again_for_all(busy_host: list[bool]) -> None:
    busy_host.extend([False, False, False, True])
    lab = lab_of_three_rounds()
    assert play(lab) == [0, 1, 1, 2]
    assert lab.records == {"taken": {"celery": [0, 2, 3], "bgresults": [0, 2, 3]}}
    assert lab.notes == ["1 times something was measured again: the host took the processors away meanwhile"]


def test_a_host_that_is_always_busy_is_put_up_with(busy_host: list[bool]) -> None:
    busy_host.extend([True] * 100)
    lab = lab_of_three_rounds()
    numbers = play(lab)
    assert numbers[-2:] == [1, 2]
    assert 2 < numbers.count(0) < 20
    assert [len(values) for values in lab.records["taken"].values()] == [3, 3]


def test_rough_figures_are_taken_as_they_come(busy_host: list[bool]) -> None:
    busy_host.extend([True] * 100)
    lab = lab_of_three_rounds(quick=True)
    assert play(lab) == [0, 1, 2]
    assert lab.notes == []


def play_in_parts(lab: AnyLab) -> tuple[list[int], list[str]]:
    """The same, each contender by itself; the rounds, and who was measured."""
    numbers: list[int] = []
    order: list[str] = []

    def measure(contender: str) -> int:
        with lab.measuring():
            order.append(contender)
        return len(order)

    for number in lab.rounds():
        for contender in ("celery", "bgresults"):
            lab.record("taken", contender, lab.undisturbed(partial(measure, contender)))
        numbers.append(number)
    return numbers, order


def test_of_a_round_in_parts_only_the_disturbed_one_is_measured_again(busy_host: list[bool]) -> None:
    busy_host.extend([False, False, False, True, True])
    lab = lab_of_three_rounds()
    numbers, order = play_in_parts(lab)
    assert numbers == [0, 1, 2]
    assert order == ["celery", "bgresults", "celery", *["bgresults"] * 3, "celery", "bgresults"]
    assert lab.records == {"taken": {"celery": [1, 3, 7], "bgresults": [2, 6, 8]}}
    assert lab.notes == ["2 times something was measured again: the host took the processors away meanwhile"]


def test_parts_that_are_always_disturbed_are_put_up_with(busy_host: list[bool]) -> None:
    busy_host.extend([True] * 100)
    lab = lab_of_three_rounds()
    numbers, order = play_in_parts(lab)
    assert numbers == [0, 1, 2]
    assert 6 < len(order) < 20
    assert [len(values) for values in lab.records["taken"].values()] == [3, 3]
    busy_host.extend([True] * 100)
    rough = lab_of_three_rounds(quick=True)
    assert len(play_in_parts(rough)[1]) == 6


def test_what_was_disturbed_before_a_part_of_a_round_is_not_forgotten(busy_host: list[bool]) -> None:
    busy_host.extend([True, False, False, False])
    lab = lab_of_three_rounds()
    numbers = []
    for number in lab.rounds():
        with lab.measuring():
            pass
        lab.undisturbed(lambda: None)
        numbers.append(number)
    assert numbers == [0, 0, 1, 2]


def test_what_does_not_count_does_not_make_a_question_long(
    busy_host: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in doubt has more rounds, unless those it has have taken long."""
    monkeypatch.setattr(lab_module, "_LONG", 25.0)
    busy_host.extend([True] * 100)
    lab = AnyLab(None, rounds=1, most=4, settled=lambda _: False, say=lambda _: None, quick=False)  # type: ignore[arg-type]
    numbers, order = play_in_parts(lab)
    assert numbers == [0, 1, 2, 3]
    assert len(order) > 12
