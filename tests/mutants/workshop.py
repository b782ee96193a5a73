"""A copy of the project in which mutants are made, and judged by the one test that has to notice each of them."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.mutants.catalogue import Mutant

__all__ = ["Verdict", "Workshop"]


class Verdict(enum.Enum):
    """What became of a mutant."""

    #: Its test failed.
    KILLED = "killed"
    #: Its test passed.
    SURVIVED = "SURVIVED"
    #: Its test could not run, or ended otherwise: that says nothing about the test.
    BROKEN = "BROKEN"
    #: Its test did not end.
    HUNG = "HUNG"


class Workshop:
    """Copies what is needed.

    Args:
        root: of the project.
        folder: an empty one.
        parts: files and folders of the project to copy.

    Attributes:
        patience: seconds that a test may take.
    """

    patience = 120.0

    def __init__(self, root: Path, folder: Path, *, parts: Sequence[str]) -> None:
        self._folder = folder
        for part in parts:
            if (root / part).is_dir():
                shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(root / part, folder / part)

    def passes(self, tests: Sequence[str]) -> bool:
        """Whether these tests pass on what is in the folder now; what they print is shown if not."""
        _, ended = self._run(tests, patience=self.patience * len(tests))
        if ended is None or ended.returncode:
            print("did not end" if ended is None else ended.stdout)
            return False
        return True

    def try_out(self, mutant: Mutant) -> Verdict:
        """Make the edit, run its test, and undo the edit."""
        path = self._folder / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.original) != 1:
            return Verdict.BROKEN
        path.write_text(text.replace(mutant.original, mutant.replacement), encoding="utf-8")
        try:
            outcomes, ended = self._run([mutant.killer], patience=self.patience)
        finally:
            path.write_text(text, encoding="utf-8")
        if ended is None:
            return Verdict.HUNG
        if ended.returncode == 0:
            return Verdict.SURVIVED
        # An import error ends with another code, or with an error of the test's surroundings: that kills nothing.
        return Verdict.KILLED if ended.returncode == 1 and outcomes == ["failure"] else Verdict.BROKEN

    def _run(
        self, tests: Sequence[str], *, patience: float
    ) -> tuple[list[str], subprocess.CompletedProcess[str] | None]:
        """What the report says of each test that did not pass, and how pytest ended; None if it did not."""
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        environment = {
            **os.environ,
            # Before the project itself, which is installed where this runs.
            "PYTHONPATH": str(self._folder),
            # Two edits within one second look the same to a cache of compiled files.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            ended = subprocess.run(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [], None
        if not report.exists():
            # pytest-timeout ends the process at once.
            return [], ended
        cases = ElementTree.parse(report).iter("testcase")
        return [child.tag for case in cases for child in case if child.tag in ("failure", "error")], ended
