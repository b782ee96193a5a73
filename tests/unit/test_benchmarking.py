"""The arithmetic of the benchmark harness, and what it says of known figures."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

from bgresults.benchmarking.arithmetic import percentile, ratios, summarise
from bgresults.benchmarking.checks import AtMost, Check, Exactly, NeverAbove, Ratio
from bgresults.benchmarking.lab import Lab
from bgresults.benchmarking.pace import CALM, lowest_pace
from bgresults.benchmarking.plot import write_plot
from bgresults.benchmarking.question import Question
from bgresults.benchmarking.report import Answer
from bgresults.benchmarking.runner import question_names
from bgresults.benchmarking.wire import ANSWER_SIZE, payload, transaction
from bgresults.meta import Decoder

RECORDS = {
    "p50": {"celery": [10.0, 12.0, 11.0], "celery shared": [9.0, 8.0, 30.0], "bgresults": [2.0, 2.0, 3.0]},
    "count": {"bgresults": [2.0, 2.0, 2.0]},
}


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (50.5, 51.0), (99, 99.0), (99.5, 100.0), (100, 100.0)]
)
def test_a_percentile_is_a_value_that_occurred(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_the_percentile_of_a_single_value_is_that_value() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


@pytest.mark.parametrize("share", [-1, 101])
def test_a_percentile_beyond_the_ends_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 100"):
        percentile([1.0], share)


def test_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
    with pytest.raises(ValueError, match="nothing"):
        summarise([])


def test_a_summary() -> None:
    found = summarise([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.median, found.low, found.high, found.iqr) == (3.0, 1.0, 5.0, 2.0)
    assert summarise([4.0]).iqr == 0.0


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([10.0, 30.0], [2.0, 3.0]) == [5.0, 10.0]
    with pytest.raises(ValueError, match="argument"):
        ratios([1.0], [1.0, 2.0])


def test_the_baseline_is_the_better_median() -> None:
    verdict = Ratio("p50", ("celery", "celery shared"), floor=4, goal=6).judge(RECORDS)
    # celery shared: medians 9 against 11; its rounds: 4.5, 4, 10.
    assert (verdict.value.median, verdict.value.low, verdict.value.high) == (4.5, 4.0, 10.0)
    assert "celery shared" in verdict.text
    assert (verdict.floor_holds, verdict.goal_holds, verdict.every_round, verdict.word) == (True, False, True, "floor")


@pytest.mark.parametrize(
    ("floor", "goal", "word", "every_round"),
    [(4.4, 4.5, "goal", False), (4.5, 4.6, "floor", False), (4.6, 5, "BELOW THE FLOOR", False), (4, 4.5, "goal", True)],
)
def test_a_ratio_is_judged_by_its_median(floor: float, goal: float, word: str, every_round: bool) -> None:
    verdict = Ratio("p50", ("celery shared",), floor=floor, goal=goal).judge(RECORDS)
    assert (verdict.word, verdict.every_round) == (word, every_round)


@pytest.mark.parametrize(
    ("floor", "goal", "word", "every_round"),
    [(3, 2, "goal", True), (2.5, 1, "floor", False), (1.9, 1, "BELOW THE FLOOR", False)],
)
def test_a_limit_is_judged_by_its_median(floor: float, goal: float, word: str, every_round: bool) -> None:
    verdict = AtMost("p50", floor=floor, goal=goal, unit="ms").judge(RECORDS)
    assert (verdict.word, verdict.every_round) == (word, every_round)


def test_counts_are_judged_by_every_round() -> None:
    assert Exactly("count", 2).judge(RECORDS).word == "floor"
    assert not Exactly("count", 3).judge(RECORDS).floor_holds
    assert not Exactly("p50", 2).judge(RECORDS).floor_holds, "the median is 2, one round is not"
    assert NeverAbove("p50", 3).judge(RECORDS).floor_holds
    assert not NeverAbove("p50", 2).judge(RECORDS).floor_holds


def test_every_contender_is_first_equally_often() -> None:
    orders = [Lab.in_turn(["a", "b", "c"], number) for number in range(3)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_the_pace_is_the_first_at_which_all_are_slower() -> None:
    knees = {"early": 450.0, "late": 900.0}
    asked: list[tuple[str, float]] = []

    def slowness(way: str, rate: float) -> float:
        asked.append((way, rate))
        return 3.0 if rate > knees[way] else 1.0

    assert lowest_pace(list(knees), slowness, 2.0) == 977
    assert asked[:1] == [("early", CALM)]
    assert max(rate for _, rate in asked) == 977


def test_a_machine_that_is_never_slower_ends_the_search() -> None:
    assert lowest_pace(["fast"], lambda _way, _rate: 1.0, 2.0) >= 20_000


def test_questions_are_found_and_put_in_order(tmp_path: Path) -> None:
    for name in ("p10", "p2", "p4b", "p4", "helper", "p4bb", "__main__"):
        (tmp_path / f"{name}.py").touch()
    package = types.ModuleType("questions")
    package.__path__ = [str(tmp_path)]
    assert question_names(package) == ["p2", "p4", "p4b", "p10"]


def test_an_answer_as_table_json_and_plot(tmp_path: Path) -> None:
    checks: list[Check] = [Ratio("p50", ("celery",), floor=100, goal=200), Exactly("count", 2)]
    question = Question(title="how long? <&>", unit="µs", checks=checks, measure=lambda _lab: None)
    answer = Answer("p1", question, RECORDS, ["a note"], [check.judge(RECORDS) for check in checks])
    assert not answer.floors_hold
    text = answer.as_text()
    assert "BELOW THE FLOOR" in text
    assert "a note" in text
    document = json.loads(json.dumps(answer.as_json()))
    assert document["records"]["p50"]["bgresults"] == [2.0, 2.0, 3.0]
    assert [verdict["floor_holds"] for verdict in document["verdicts"]] == [False, True]
    svg = write_plot(tmp_path / "p1.svg", answer).read_text()
    assert svg.startswith("<svg")
    assert "&lt;&amp;&gt;" in svg


@pytest.mark.parametrize("size", [200, 4096])
def test_a_payload_has_the_size_that_is_asked_for(size: int) -> None:
    task_id = "5c1f3f0e-41a5-4a83-9d8d-7a8a2cf0a3a1"
    body = payload(task_id, size)
    assert abs(len(body) - size) <= 4
    raw = Decoder("json").decode_for(task_id, body)
    assert (raw["status"], raw["task_id"]) == ("SUCCESS", task_id)


def test_a_transaction_is_what_a_worker_sends() -> None:
    words = transaction("an-id", 200).split(b"\r\n")
    assert [word for word in words if word in (b"MULTI", b"SETEX", b"PUBLISH", b"EXEC")] == [
        b"MULTI",
        b"SETEX",
        b"PUBLISH",
        b"EXEC",
    ]
    assert words.count(b"celery-task-meta-an-id") == 2
    assert ANSWER_SIZE == 36
