"""Programs of :mod:`tests.limits.programs`, in processes of their own: their limits are not the test runner's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.limits.backends import WAIT

__all__ = ["ROOT", "command", "run"]

ROOT = Path(__file__).resolve().parents[2]


def command(program: str, *arguments: str) -> list[str]:
    """How to start a program; with :data:`ROOT` as its folder."""
    return [sys.executable, "-m", f"tests.limits.programs.{program}", *arguments]


def run(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end, see that it ends well and silently, and return what it printed."""
    done = subprocess.run(
        command(program, *arguments),
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=2 * WAIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout
