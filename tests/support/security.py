"""The rules in SECURITY.md, as an administrator would copy them."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["rules"]

_FILE = Path(__file__).resolve().parents[2] / "SECURITY.md"


def rules(beginning: str) -> list[list[str]]:
    """The words of each line that begins so; quotes are taken off as a shell does."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(beginning)]
