"""What got better or worse since an earlier run, as far as that can be told from noise.

Two runs differ in a figure if the confidence intervals of its two medians have nothing in common, and if the medians
are some percent apart: what the machine did besides is the same for all rounds of a run, and no interval knows of it.
Of a judged figure it is said whether it is better or worse, of any other one of ours whether it is higher or lower: a
ratio within one run says the same on every machine, microseconds do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bgresults.benchmarking.arithmetic import bound
from bgresults.benchmarking.checks import OURS
from bgresults.benchmarking.report import Answer, columns

__all__ = ["EarlierRun", "read_run"]

# Less than that is not worth a line, whatever the intervals are.
_WORTH = 0.1
_FACTS = ("system", "cpus", "python", "redis-server", "celery", "kombu", "redis-py", "hiredis", "msgspec")


@dataclass(frozen=True)
class _Change:
    """A figure of two runs."""

    what: str
    before: Sequence[float]
    now: Sequence[float]

    @property
    def times(self) -> float:
        """How many times the earlier median the one of now is."""
        return median(self.now) / median(self.before) if median(self.before) else float("inf")

    @property
    def real(self) -> bool:
        """Whether there is more to it than noise."""
        if median(self.now) == median(self.before):
            return False
        apart = bound(self.now, lower=True) > bound(self.before, lower=False) or (
            bound(self.now, lower=False) < bound(self.before, lower=True)
        )
        return apart and not 1 / (1 + _WORTH) < self.times < 1 + _WORTH

    def as_row(self, word: str) -> tuple[str, ...]:
        """For people."""
        return (self.what, f"{median(self.before):.4g}", f"{median(self.now):.4g}", f"{self.times:.2f} times", word)


class EarlierRun:
    """What another run has written.

    Args:
        document: its JSON.
        name: of the file, for people.
    """

    def __init__(self, document: Mapping[str, Any], name: str) -> None:
        self._questions: Mapping[str, Any] = document["questions"]
        self._machine: Mapping[str, Any] = document["machine"]
        self._quick: bool = document["quick"]
        self._name = name

    def compare(self, answers: Sequence[Answer], machine: Mapping[str, Any], *, quick: bool) -> str:
        """Say what is different now.

        Args:
            answers: of this run.
            machine: what it ran with.
            quick: whether it was a quick one.
        """
        lines = [f"AGAINST {self._name}, {self._machine.get('date', 'of an unknown date')}"]
        differing = [fact for fact in _FACTS if str(self._machine.get(fact)) != str(machine.get(fact))]
        lines += [f"  * {fact}: {self._machine.get(fact)} then, {machine.get(fact)} now" for fact in differing]
        if quick != self._quick:
            lines.append("  * one of the two runs was a quick one: they had different work to do")
        rows: list[tuple[str, ...]] = []
        compared = 0
        for answer in answers:
            for change, word in self._judged(answer):
                compared += 1
                rows += [change.as_row(word)] if change.real else []
            for change in self._ours(answer):
                compared += 1
                rows += [change.as_row("higher" if change.times > 1 else "lower")] if change.real else []
        if rows:
            lines += columns([("figure", "then", "now", "now / then", "is"), *rows])
        lines.append(f"  {compared} figures compared, {compared - len(rows)} without a difference beyond the noise")
        return "\n".join(lines)

    def _judged(self, answer: Answer) -> Iterator[tuple[_Change, str]]:
        earlier = {verdict["what"]: verdict for verdict in self._questions.get(answer.name, {}).get("verdicts", ())}
        for verdict in answer.verdicts:
            if verdict.what in earlier:
                what, before = f"{answer.name.upper()} {verdict.what}", earlier[verdict.what]["rounds"]
                change = _Change(what, before, verdict.rounds)
                yield change, "BETTER" if (change.times > 1) == verdict.more_is_better else "WORSE"

    def _ours(self, answer: Answer) -> Iterator[_Change]:
        """Our own figures that are not judged by themselves."""
        judged = {verdict.what for verdict in answer.verdicts}
        earlier = self._questions.get(answer.name, {}).get("records", {})
        for metric, contenders in answer.records.items():
            for contender, values in contenders.items():
                what = f"{metric}: {contender}"
                if contender.startswith(OURS) and what not in judged and contender in earlier.get(metric, {}):
                    unit = answer.question.unit
                    yield _Change(f"{answer.name.upper()} {what} ({unit})", earlier[metric][contender], values)


def read_run(path: Path) -> EarlierRun:
    """Read what an earlier run has written.

    Raises:
        ValueError: there is no such file, or it is something else.
    """
    try:
        return EarlierRun(json.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what a run has written with --json") from error
