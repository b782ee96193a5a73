"""All verdicts of a run: one table, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgresults.benchmarking.report import Answer, columns

__all__ = ["summary", "write_markdown"]

_HEADER = ("row", "judged", "median (rounds)", "bound", "floor", "goal", "holds")


def summary(answers: Sequence[Answer], skipped: Sequence[str], failed: Sequence[str]) -> str:
    """The table for the terminal.

    Args:
        answers: of the questions that were asked.
        skipped: names of those that could not be.
        failed: names of those that went wrong.
    """
    rows = [_HEADER, *_rows(answers)]
    rows += [(name.upper(), "not measured", "", "", "", "", "skipped") for name in skipped]
    rows += [(name.upper(), "not measured", "", "", "", "", "FAILED") for name in failed]
    aligned = columns([(f"{row[0]:4}  {row[1]}", *row[2:]) for row in rows])
    return "\n".join(["ALL ROWS", *aligned])


def write_markdown(path: Path, machine: Mapping[str, Any], answers: Sequence[Answer]) -> Path:
    """The table for a page, with the machine and the command above it; returns ``path``."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("date", "command"))
    lines = [f"`{machine['command']}`, {machine['date']}: {facts}.", ""]
    lines += [_line(_HEADER), _line(["---"] * len(_HEADER)), *(_line(row) for row in _rows(answers))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _rows(answers: Sequence[Answer]) -> list[tuple[str, ...]]:
    """One for each check; a question without checks has none."""
    return [
        (
            answer.name.upper(),
            verdict.what,
            verdict.text,
            verdict.bound_text,
            verdict.floor,
            verdict.goal or "-",
            verdict.word,
        )
        for answer in answers
        for verdict in answer.verdicts
    ]


def _line(cells: Sequence[str]) -> str:
    # A bar would end the cell.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
