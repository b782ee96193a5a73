"""Runs the questions of a package: all of them, or those that are named."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from bgresults.benchmarking.machine import describe
from bgresults.benchmarking.plot import write_plot
from bgresults.benchmarking.question import AnyQuestion
from bgresults.benchmarking.report import Answer, write_json
from bgresults.testing.binaries import find_redis_server

__all__ = ["main", "question_names"]

ROUNDS = 5
QUICK_ROUNDS = 3


def question_names(package: ModuleType) -> list[str]:
    """The questions of a package: its modules d2 and so on, then p1, p2, p4b …, then w1 …, in this order."""
    found = [module.name for module in pkgutil.iter_modules(package.__path__)]
    questions = [name for name in found if re.fullmatch(r"[dpw]\d+[a-z]?", name)]
    return sorted(questions, key=lambda name: (name[0], int(re.sub(r"\D", "", name)), name))


def main(package: ModuleType, arguments: Sequence[str] | None = None) -> int:
    """Run questions, print a table for each, write JSON and plots.

    Args:
        package: whose modules have a ``QUESTION`` each.
        arguments: of the command line.

    Returns:
        The exit code: 0 if all floors hold of what could be measured.
    """
    names = question_names(package)
    parser = _parser(package, names)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.questions if name not in names]:
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(names)}")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    binary = find_redis_server()
    machine = describe(binary.version if binary is not None else "none")
    facts = [f"{name} {value}" for name, value in machine.items() if name not in ("date", "command")]
    print("  ".join(facts), flush=True)
    answers, skipped = [], []
    for name in options.questions or names:
        question: AnyQuestion = importlib.import_module(f"{package.__name__}.{name}").QUESTION
        lacking = question.lacking()
        if lacking is not None:
            print(f"\n{name.upper()}  skipped: {lacking}", flush=True)
            skipped.append(name)
            continue
        started = time.monotonic()
        lab = question.ask(rounds=rounds, quick=options.quick, say=_progress(name))
        _clear_line()
        answer = Answer.of(name, question, lab)
        print(f"\n{answer.as_text()}\n  * {rounds} rounds, {time.monotonic() - started:.0f} s", flush=True)
        answers.append(answer)
    folder = Path(package.__path__[0]) / "results"
    target = options.json or folder / f"{str(machine['date']).replace(':', '').partition('+')[0]}.json"
    write_json(target, machine, answers, quick=options.quick, rounds=rounds)
    plots = [write_plot(target.with_name(f"{target.stem}-{answer.name}.svg"), answer) for answer in answers]
    print(f"\nwritten: {_short(target)}, {len(plots)} plots beside it")
    missed = [answer.name for answer in answers if not answer.floors_hold]
    if skipped:
        print(f"skipped: {', '.join(skipped)}")
    if answers:
        print(f"below a floor: {', '.join(missed)}" if missed else "all floors hold")
    return 1 if missed else 0


def _parser(package: ModuleType, names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {package.__name__}", description=(package.__doc__ or "").strip())
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of less work")
    parser.add_argument("--rounds", type=int, help=f"how many (default: {ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the figures; default: a new one in results/")
    return parser


def _progress(name: str) -> Callable[[str], None]:
    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{name}: {text}", end="", file=sys.stderr, flush=True)

    return say


def _clear_line() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _short(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path
