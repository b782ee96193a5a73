"""What a question found: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bgresults.benchmarking.arithmetic import summarise
from bgresults.benchmarking.checks import Verdict
from bgresults.benchmarking.lab import AnyLab
from bgresults.benchmarking.question import AnyQuestion

__all__ = ["Answer", "columns", "write_json"]


@dataclass(frozen=True)
class Answer:
    """A question, what was recorded, and the verdicts.

    Attributes:
        name: of the question's file.
        question: itself.
        records: metric → contender → one value per round.
        notes: what a reader should know.
        verdicts: one for each check.
        seconds: that it took; 0 if another question has measured it.
    """

    name: str
    question: AnyQuestion
    records: Mapping[str, Mapping[str, Sequence[float]]]
    notes: Sequence[str]
    verdicts: Sequence[Verdict]
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, question: AnyQuestion, lab: AnyLab, seconds: float = 0.0) -> Answer:
        """Judge what the lab has recorded."""
        records = {metric: contenders for metric, contenders in lab.records.items() if question.shows(metric)}
        verdicts = [check.judge(records) for check in question.checks]
        return cls(name, question, records, lab.notes, verdicts, seconds)

    @property
    def floors_hold(self) -> bool:
        """Whether every floor does."""
        return all(verdict.floor_holds for verdict in self.verdicts)

    @property
    def rounds(self) -> int:
        """How many there were: more than were asked for, where those were not enough to judge."""
        return max((len(values) for found in self.records.values() for values in found.values()), default=0)

    def as_text(self) -> str:
        """The table."""
        lines = [f"{self.name.upper()}  {self.question.title}"]
        lines += columns([("measured", f"median, {self.question.unit}", "lowest", "highest", "IQR"), *self._figures()])
        if self.verdicts:
            judged = [
                (verdict.what, verdict.text, verdict.bound_text, verdict.floor, verdict.goal, verdict.word)
                for verdict in self.verdicts
            ]
            lines += ["", *columns([("compared", "median (rounds)", "bound", "floor", "goal", "holds"), *judged])]
        return "\n".join([*lines, *(f"  * {note}" for note in [*self.notes, self._effort()])])

    def _effort(self) -> str:
        took = f"{self.seconds:.0f} s" if self.seconds else "measured with another question"
        return f"{self.rounds} rounds, {took}"

    def _figures(self) -> list[tuple[str, ...]]:
        rows = []
        for metric, contenders in self.records.items():
            for contender, values in contenders.items():
                found = summarise(values)
                figures = (found.median, found.low, found.high, found.iqr)
                texts = [f"{figure:,.{self.question.decimals}f}" for figure in figures]
                rows.append((f"{metric}  {contender}", *texts))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "title": self.question.title,
            "unit": self.question.unit,
            "seconds": round(self.seconds, 1),
            "records": {metric: dict(contenders) for metric, contenders in self.records.items()},
            "summaries": {
                metric: {contender: asdict(summarise(values)) for contender, values in contenders.items()}
                for metric, contenders in self.records.items()
            },
            "verdicts": [{**asdict(verdict), "verdict": verdict.word} for verdict in self.verdicts],
            "notes": list(self.notes),
        }


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join([row[0].ljust(widths[0]), *cells]))
    return lines


def write_json(path: Path, machine: Mapping[str, Any], answers: Sequence[Answer], *, quick: bool) -> None:
    """Write all answers of a run into one file."""
    document = {
        "machine": dict(machine),
        "quick": quick,
        "questions": {answer.name: answer.as_json() for answer in answers},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
