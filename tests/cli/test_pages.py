"""docs/cli.md says what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from bgresults.cli.group import bgresults
from bgresults.diagnosis import EXIT_CODES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
ELSEWHERE = {"--help", "--rounds", "--quick", "--args", "--port", "--version", "--threads", "--tasks"}


def test_every_option_has_a_word() -> None:
    options = {
        word
        for command in bgresults.commands.values()
        for parameter in command.params
        for word in parameter.opts
        if word.startswith("--")
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert options - ELSEWHERE <= named
    assert named - ELSEWHERE <= options


def test_every_exit_code_and_command() -> None:
    for outcome, code in EXIT_CODES.items():
        assert re.search(rf"^\| {code} \|", PAGE, re.MULTILINE), outcome
        assert f"`{outcome}`" in PAGE
    assert all(f"`bgresults {name}" in PAGE for name in bgresults.commands)
