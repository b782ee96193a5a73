"""Virtual environments with other versions of Celery: made once, in ``.celery-versions``, and kept."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["ROOT", "VERSIONS", "chosen_versions", "python_with"]

ROOT = Path(__file__).resolve().parents[2]
#: What workers may have, the oldest first.
VERSIONS = ("5.3", "5.4", "5.5", "5.6", "5.7")

_FOLDER = ROOT / ".celery-versions"
_CHOICE = "BGRESULTS_CELERY_VERSIONS"
_LAST_LINES = 20


def chosen_versions() -> list[str]:
    """Those named by BGRESULTS_CELERY_VERSIONS: ``5.3,5.7``, or ``all``; none where it is not set.

    Raises:
        UsageError: it names another one.
    """
    named = [name.strip() for name in os.environ.get(_CHOICE, "").split(",") if name.strip()]
    if named == ["all"]:
        return list(VERSIONS)
    if unknown := sorted(set(named) - set(VERSIONS)):
        raise pytest.UsageError(
            f"{_CHOICE} names {', '.join(unknown)}; it may be 'all', or some of {','.join(VERSIONS)}"
        )
    return named


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the environment with that name; makes it if need be, as whoever calls pip is set up.

    Raises:
        RuntimeError: pip failed; with its last lines.
    """
    folder = _FOLDER / name
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = "\n".join([sys.version, *requirements])
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / f"{name}.lock").open("w") as lock:
        # Of another run of the tests.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--no-input", *requirements])
            stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}:\n{last}")
