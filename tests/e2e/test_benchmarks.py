"""``python -m benchmarks`` as it is started: a program that measures, and writes what it has found.

Nothing is said of the figures, which are those of a machine that has other things to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bgresults.benchmarking.contenders import OURS

ROOT = Path(__file__).resolve().parents[2]
# Those that start programs of their own, cut connections, or count what the kernel counts; the others take longer.
QUESTIONS = ["p5", "p12", "p15", "p16", "large", "parsers"]
# A floor may be missed here.
CODES = (0, 1)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_questions_are_answered(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    command = [sys.executable, "-m", "benchmarks", *QUESTIONS, "--quick", "--rounds", "1", "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode in CODES, done.stderr
    assert done.stderr == ""
    document = json.loads(target.read_text())
    assert list(document["questions"]) == QUESTIONS
    for name, question in document["questions"].items():
        contenders = {name for found in question["records"].values() for name in found}
        assert any(each.startswith(OURS) for each in contenders), name
        assert (tmp_path / f"run-{name}.svg").is_file()
    assert "ALL ROWS" in done.stdout
    assert (tmp_path / "run.md").read_text().count("\n| P") == sum(
        len(question["verdicts"]) for question in document["questions"].values()
    )
