"""Running a command: in this process, or as its users do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from bgresults.cli.group import bgresults

__all__ = ["COMMAND", "ENVIRONMENT", "Ended", "run"]

_ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "bgresults"]
#: For a process in any folder; whatever Python warns of is seen.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_ROOT)}


class Ended(NamedTuple):
    """How it ended."""

    code: int
    output: str
    errors: str


def run(*words: str, **options: Any) -> Ended:
    """Run it in this process, where its output is no terminal; ``options`` are those of ``CliRunner.invoke``."""
    result = CliRunner().invoke(bgresults, words, prog_name="bgresults", **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)
