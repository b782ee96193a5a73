"""The mutants' catalogue fits the library as it is, and what judges them is not easily pleased."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, main
from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.workshop import Verdict, Workshop


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_an_edit_fits(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1, f"{mutant.file} has changed: look at this mutant again"
    assert mutant.original != mutant.replacement
    compile(text.replace(mutant.original, mutant.replacement), mutant.file, "exec")


def test_names_are_distinct() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_killers_exist() -> None:
    """Down to their parameters, so collected as pytest itself does it."""
    killers = sorted({mutant.killer for mutant in MUTANTS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *killers]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line for line in ended.stdout.splitlines() if "::" in line] == killers


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-mutant"]) == 2
    assert "heap-never-compacted" in capsys.readouterr().out


class TestWorkshop:
    """On a project of three lines."""

    GOOD = Mutant("add", "subtracts", "sums.py", "a + b", "a - b", "test_sums.py::test_add")

    @pytest.fixture
    def workshop(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
        project, folder = tmp_path / "project", tmp_path / "copy"
        project.mkdir()
        folder.mkdir()
        (project / "sums.py").write_text("def add(a, b):\n    return a + b  # as it is\n")
        (project / "test_sums.py").write_text(
            "import pytest\nimport sums\n\n\ndef test_add():\n    assert sums.add(2, 3) == 5\n\n\n"
            "@pytest.fixture\ndef five():\n    yield 5\n    assert sums.add(2, 3) == 5\n\n\n"
            "def test_five(five):\n    assert five == 5\n"
        )
        # Most of what starting pytest costs, and of no use to this project.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return Workshop(project, folder, parts=["sums.py", "test_sums.py"])

    @pytest.mark.parametrize(
        ("change", "verdict"),
        [
            ({}, Verdict.KILLED),
            ({"original": "as it is", "replacement": "as it was"}, Verdict.SURVIVED),
            ({"replacement": "a +"}, Verdict.BROKEN),
            ({"original": "not there"}, Verdict.BROKEN),
            ({"killer": "test_sums.py::test_five"}, Verdict.BROKEN),
        ],
        ids=["killed", "survived", "syntax", "edit", "teardown"],
    )
    def test_verdicts(self, workshop: Workshop, tmp_path: Path, change: dict[str, str], verdict: Verdict) -> None:
        assert workshop.try_out(replace(self.GOOD, **change)) is verdict
        texts = [(tmp_path / folder / "sums.py").read_text() for folder in ("project", "copy")]
        assert texts[0] == texts[1], "the edit is undone"

    def test_one_that_does_not_end(self, workshop: Workshop) -> None:
        endless = replace(self.GOOD, original="return a", replacement="while True: pass\n    return a")
        workshop.patience = 2.0
        assert workshop.try_out(endless) is Verdict.HUNG

    def test_without_a_mutant(self, workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
        assert workshop.passes([self.GOOD.killer])
        assert not workshop.passes(["test_sums.py::test_nothing"])
        assert "not found" in capsys.readouterr().out
