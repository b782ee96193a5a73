"""The examples have tests, as their readers would write them: without a server, a broker or a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "folder", "passed"),
    [
        (["-m", "pytest", "-p", "no:cacheprovider", "examples/flask_app"], ROOT, "8 passed"),
        (["-W", "error", "manage.py", "test"], ROOT / "examples" / "django_project", "Ran 7 tests"),
    ],
    ids=["flask", "django"],
)
def test_they_pass(arguments: Sequence[str], folder: Path, passed: str) -> None:
    # Nobody listens there.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed in done.stdout + done.stderr
