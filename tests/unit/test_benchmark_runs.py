"""Runs of the benchmark harness: which questions are asked, how often, and what is said and written of the answers."""

from __future__ import annotations

import importlib
import json
import re
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from bgresults.benchmarking import plot
from bgresults.benchmarking.charts import Chart
from bgresults.benchmarking.checks import Check, Exactly, Ratio
from bgresults.benchmarking.comparison import read_run
from bgresults.benchmarking.lab import Lab
from bgresults.benchmarking.question import AnyQuestion, Question
from bgresults.benchmarking.report import Answer
from bgresults.benchmarking.runner import judged_names, main, question_names
from tests.support.closed import CLOSED_PORT

RECORDS = {
    "p50": {"celery": [10.0, 12.0, 11.0], "bgresults": [2.0, 2.0, 3.0]},
    "count": {"bgresults": [2.0, 2.0, 2.0]},
}

# A question that is answered without a server, from what the test gives it.
_CANNED = """
import json
from pathlib import Path
from bgresults.benchmarking import AtMost, Question
from bgresults.benchmarking.lab import AnyLab

FIGURES = json.loads(Path(__file__).with_suffix(".json").read_text())


class Canned(Question):
    def lacking(self):
        return None

    def ask(self, **settings):
        lab = AnyLab(None, **settings)
        self.measure(lab)
        return lab


def measure(lab):
    for number in lab.rounds():
        lab.record("taken", "bgresults", FIGURES[number])
        lab.record("used, ms", "bgresults", 1.0)


QUESTION = Canned(title="canned", unit="s", checks=[AtMost("taken", floor=2, goal=1, unit="s")], measure=measure)
"""
_CALM_ROUNDS = """
def measure(lab):
    for _ in lab.rounds():
        lab.record("before", "bgresults", 1.0)
    _doubtful(lab)
    for _ in lab.rounds():
        lab.record("after", "bgresults", 1.0)


def _doubtful(lab):
"""
_SHARED = """
from dataclasses import replace
from bgresults.benchmarking import Exactly
from {package}.p1 import QUESTION as FIRST

QUESTION = replace(FIRST, title="shared", checks=[Exactly("used, ms", 1)], shows=lambda metric: "used" in metric)
"""
_LACKING = """
from bgresults.benchmarking import BrokerQuestion
QUESTION = BrokerQuestion(title="never asked", unit="s", checks=[], measure=lambda lab: lab.never)
"""

Make = Callable[..., types.ModuleType]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a package of questions: source by name, and the figures of ``p1``."""

    def make(figures: list[float], **sources: str) -> types.ModuleType:
        name = f"questions_{uuid.uuid4().hex}"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "p1.json").write_text(json.dumps(figures))
        for question, source in sources.items():
            (folder / f"{question}.py").write_text(source.replace("{package}", name))
        made = types.ModuleType(name)
        made.__path__ = [str(folder)]
        return made

    monkeypatch.syspath_prepend(str(tmp_path))
    # Drawing takes a second.
    monkeypatch.setattr(plot, "missing", lambda: "no plots here")
    return make


def run(package: types.ModuleType, target: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was written."""
    code = main(package, ["--json", str(target), *arguments])
    document: dict[str, Any] = json.loads(target.read_text())
    return code, document


def test_questions_are_found_and_put_in_order(tmp_path: Path) -> None:
    for name in ("w1", "p10", "p2", "p4b", "p4", "large", "_helper", "__main__"):
        (tmp_path / f"{name}.py").touch()
    package = types.ModuleType("questions")
    package.__path__ = [str(tmp_path)]
    assert judged_names(package) == ["p2", "p4", "p4b", "p10"]
    assert question_names(package) == ["p2", "p4", "p4b", "p10", "large", "w1"]


def test_the_judged_questions_are_asked_and_the_others_by_name(package: Make, tmp_path: Path) -> None:
    made = package([1.0] * 5, p1=_CANNED, large=_SHARED)
    assert list(run(made, tmp_path / "all.json")[1]["questions"]) == ["p1"]
    assert list(run(made, tmp_path / "named.json", "large")[1]["questions"]) == ["large"]


@pytest.mark.parametrize(
    ("figures", "rounds", "word"),
    [
        ([1.0] * 11, 5, "goal"),
        ([3.0] * 11, 5, "BELOW THE FLOOR"),
        ([9.0] + [1.0] * 10, 8, "goal"),
        ([9.0, 9.0] + [1.0] * 9, 11, "goal"),
        ([9.0, 9.0] + [1.0] * 6 + [9.0, 1.0, 1.0], 11, "NOT CERTAIN"),
    ],
)
def test_a_floor_that_is_in_doubt_is_worth_more_rounds(
    package: Make, tmp_path: Path, figures: list[float], rounds: int, word: str
) -> None:
    code, document = run(package(figures, p1=_CANNED), tmp_path / "run.json")
    question = document["questions"]["p1"]
    assert len(question["records"]["taken"]["bgresults"]) == rounds
    assert [verdict["verdict"] for verdict in question["verdicts"]] == [word]
    assert code == (0 if word == "goal" else 1)


def test_only_the_rounds_in_doubt_go_on(package: Make, tmp_path: Path) -> None:
    """A question may have several sets of rounds; what one has left in doubt is no matter of the next."""
    source = _CANNED.replace("def measure(lab):", _CALM_ROUNDS)
    figures = [9.0, 9.0] + [1.0] * 6 + [9.0, 1.0, 1.0]
    _, document = run(package(figures, p1=source), tmp_path / "run.json")
    rounds = {metric: len(found["bgresults"]) for metric, found in document["questions"]["p1"]["records"].items()}
    assert rounds == {"before": 5, "taken": 11, "used, ms": 11, "after": 5}


@pytest.mark.parametrize(("option", "rounds"), [("--quick", 3), ("--rounds=4", 4)])
def test_rounds_that_were_asked_for_are_all_there_are(package: Make, tmp_path: Path, option: str, rounds: int) -> None:
    code, document = run(package([9.0] + [1.0] * 10, p1=_CANNED), tmp_path / "run.json", option)
    assert len(document["questions"]["p1"]["records"]["taken"]["bgresults"]) == rounds
    assert code == 1


def test_what_two_questions_have_in_common_is_measured_once(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The figures would be at their end after five rounds.
    code, document = run(package([1.0] * 5, p1=_CANNED, p2=_SHARED), tmp_path / "run.json")
    assert code == 0
    assert list(document["questions"]["p1"]["records"]) == ["taken", "used, ms"]
    assert list(document["questions"]["p2"]["records"]) == ["used, ms"]
    assert "measured with another question" in capsys.readouterr().out


def test_the_last_table_has_a_row_for_each_check(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(package([1.5] * 5, p1=_CANNED, p2=_SHARED), tmp_path / "run.json")
    table = capsys.readouterr().out.partition("ALL ROWS")[2]
    assert re.search(r"P1 .* <= 2 s +<= 1 s +floor\n", table)
    assert re.search(r"P2 .* = 1 +- +floor\n", table)
    assert "all floors hold" in table
    page = (tmp_path / "run.md").read_text()
    assert "| P1 | taken: bgresults | 1.5 s (1.5-1.5) | <= 1.5 s | <= 2 s | <= 1 s | floor |" in page
    assert "python -m benchmarks" in page


def test_a_question_without_its_broker_is_skipped_in_one_line(
    package: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"amqp://guest:secret@127.0.0.1:{CLOSED_PORT}//"
    monkeypatch.setenv("BGRESULTS_RABBITMQ_URL", url)
    assert run(package([], p1=_LACKING), tmp_path / "figures.json", "p1")[0] == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if "skipped: no" in line]
    assert len(lines) == 1
    assert lines[0].startswith("P1  skipped: no RabbitMQ at amqp://guest:**@127.0.0.1")
    assert "all floors hold" not in said, "nothing was measured"
    assert said.splitlines()[-1] == "skipped: p1"


def test_a_question_that_goes_wrong_costs_no_other_one_its_figures(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = _CANNED.replace("    for number", "    raise RuntimeError('the server is on fire')\n    for number")
    made = package([1.0] * 5, p1=_CANNED, p2=broken, p3=_SHARED)
    (Path(made.__path__[0]) / "p2.json").write_text("[]")
    code, document = run(made, tmp_path / "run.json")
    assert code == 1
    assert list(document["questions"]) == ["p1", "p3"]
    said = capsys.readouterr().out
    assert "P2  failed:" in said
    assert "RuntimeError: the server is on fire" in said
    assert "failed: p2\n" in said


def test_what_is_different_from_an_earlier_run_is_said(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "earlier.json"
    run(package([1.0, 1.01, 1.02, 1.03, 1.04], p1=_CANNED), earlier)
    capsys.readouterr()
    run(package([1.5, 1.51, 1.52, 1.53, 1.54], p1=_CANNED), tmp_path / "slower.json", "--against", str(earlier))
    said = capsys.readouterr().out.partition("AGAINST")[2]
    assert re.search(r"P1 taken: bgresults +1\.02 +1\.52 +1\.49 times +WORSE\n", said)
    assert "2 figures compared, 1 without a difference beyond the noise" in said
    run(package([0.5] * 5, p1=_CANNED), tmp_path / "faster.json", "--against", str(earlier))
    assert "0.49 times  BETTER\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param([1.5, 1.5, 1.5, 1.5, 1.04], id="one round as before"),
        pytest.param([1.05, 1.06, 1.07, 1.05, 1.06], id="by a few percent only"),
    ],
)
def test_noise_is_no_difference(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], figures: list[float]
) -> None:
    earlier = tmp_path / "earlier.json"
    run(package([1.0, 1.01, 1.02, 1.03, 1.04], p1=_CANNED), earlier)
    run(package(figures, p1=_CANNED), tmp_path / "now.json", "--against", str(earlier))
    assert "2 figures compared, 2 without a difference" in capsys.readouterr().out


def test_an_earlier_run_on_another_machine_is_named(package: Make, tmp_path: Path) -> None:
    made = package([1.0] * 5, p1=_CANNED)
    earlier = tmp_path / "earlier.json"
    _, document = run(made, earlier, "--quick")
    document["machine"]["python"] = "2.7.18"
    earlier.write_text(json.dumps(document))
    said = read_run(earlier).compare([], {**document["machine"], "python": "3.11.7"}, quick=False)
    assert "python: 2.7.18 then, 3.11.7 now" in said
    assert "one of the two runs was a quick one" in said


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), ("{}", "is not what a run has")]
)
def test_a_file_that_is_no_earlier_run_is_refused_before_anything_is_measured(
    package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    earlier = tmp_path / "earlier.json"
    if content is not None:
        earlier.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(package([], p1=_CANNED), ["--against", str(earlier)])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"), [(["p9"], "no such question: p9; there are p1"), (["--rounds=0"], "0")]
)
def test_what_makes_no_sense_is_refused(
    package: Make, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit):
        main(package([], p1=_CANNED), arguments)
    assert words in capsys.readouterr().err


# matplotlib keeps the fonts open that it has used.
@pytest.mark.allow_leaks("descriptors")
def test_an_answer_as_table_json_and_plot(tmp_path: Path) -> None:
    checks: list[Check] = [Ratio("p50", ("celery",), floor=100, goal=200), Exactly("count", 2)]
    chart = Chart(name="growth", title="more <&>", x="threads", y="µs", lines={"p50": {1: "p50", 16: "count"}})
    question = Question(title="how long? <&>", unit="µs", checks=checks, measure=_nothing, charts=[chart])
    answer = Answer("p1", question, RECORDS, ["a note"], [check.judge(RECORDS) for check in checks])
    assert not answer.floors_hold
    text = answer.as_text()
    assert "BELOW THE FLOOR" in text
    assert "a note" in text
    document = json.loads(json.dumps(answer.as_json()))
    assert document["records"]["p50"]["bgresults"] == [2.0, 2.0, 3.0]
    assert [verdict["floor_holds"] for verdict in document["verdicts"]] == [False, True]
    plots = plot.write_plots(tmp_path / "plots", "run", answer)
    assert [path.name for path in plots] == ["run-p1.svg", "run-p1-growth.svg"]
    for path in plots:
        svg = path.read_text()
        assert "<svg" in svg
        assert "&lt;&amp;&gt;" in svg


def _nothing(_lab: Lab) -> None:
    """Measures nothing."""


def test_every_row_is_a_question_and_is_explained() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/benchmarks.md").read_text(encoding="utf-8")
    judged = judged_names(benchmarks)
    assert judged == [*(f"p{number}" for number in range(1, 5)), "p4b", *(f"p{number}" for number in range(5, 18))]
    for name in question_names(benchmarks):
        source = Path(str(benchmarks.__file__)).with_name(f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"^(from|import) benchmarks", source, re.M), f"in a wheel, {name} has another parent"
        question = importlib.import_module(f"benchmarks.{name}").QUESTION
        assert isinstance(question, AnyQuestion)
        assert bool(question.checks) or name not in judged
        row = name.upper().replace("B", "b") if name in judged else f"`{name}`"
        assert f"| {row} |" in page, f"{name} is missing in docs/benchmarks.md"
