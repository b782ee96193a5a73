"""Runs the questions of a package: the judged ones, or those that are named."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from bgresults.benchmarking import plot
from bgresults.benchmarking.comparison import EarlierRun, read_run
from bgresults.benchmarking.lab import AnyLab, Records
from bgresults.benchmarking.machine import describe
from bgresults.benchmarking.question import AnyQuestion
from bgresults.benchmarking.report import Answer, write_json
from bgresults.benchmarking.summary import summary, write_markdown
from bgresults.testing.binaries import find_redis_server

__all__ = ["judged_names", "main", "question_names"]

ROUNDS = 5
# Of a question whose floors five rounds leave in doubt.
MOST_ROUNDS = 11
QUICK_ROUNDS = 3


def question_names(package: ModuleType) -> list[str]:
    """The questions of a package, which are its modules: first p1, p2, p4b …, then all others by name."""
    found = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    judged = judged_names(package)
    return [*judged, *sorted(name for name in found if name not in judged)]


def judged_names(package: ModuleType) -> list[str]:
    """Those that are asked unless others are named: p1, p2, p4b …, in this order."""
    found = [module.name for module in pkgutil.iter_modules(package.__path__)]
    rows = [name for name in found if re.fullmatch(r"p\d+[a-z]?", name)]
    return sorted(rows, key=lambda name: (int(re.sub(r"\D", "", name)), name))


def main(package: ModuleType, arguments: Sequence[str] | None = None) -> int:
    """Run questions, print a table for each and one for all; write JSON, Markdown and plots.

    Args:
        package: whose modules have a ``QUESTION`` each.
        arguments: of the command line.

    Returns:
        The exit code: 0 if all floors hold of what could be measured, and nothing went wrong.
    """
    options = _options(package, arguments)
    earlier: EarlierRun | None = options.against
    began = time.monotonic()
    binary = find_redis_server()
    machine = describe(binary.version if binary is not None else "none")
    facts = [f"{name} {value}" for name, value in machine.items() if name not in ("date", "command")]
    print("  ".join(facts), flush=True)
    questions: dict[str, AnyQuestion] = {
        name: importlib.import_module(f"{package.__name__}.{name}").QUESTION for name in options.questions
    }
    answers, skipped, failed = _ask(questions, rounds=options.rounds, quick=options.quick)
    folder = Path(package.__path__[0]) / "results"
    target = options.json or folder / f"{str(machine['date']).replace(':', '').partition('+')[0]}.json"
    write_json(target, machine, answers, quick=options.quick)
    written = [target, write_markdown(target.with_suffix(".md"), machine, answers)]
    if plot.missing() is None:
        for answer in answers:
            written += plot.write_plots(target.parent, target.stem, answer)
    print(f"\n{summary(answers, skipped, failed)}")
    if earlier is not None:
        print(f"\n{earlier.compare(answers, machine, quick=options.quick)}")
    plots = len(written) - 2
    print(f"\nwritten: {_short(target)}, and beside it {written[1].name} and {plots} plots")
    if (why := plot.missing()) is not None:
        print(f"not drawn: {why}")
    missed = [answer.name for answer in answers if not answer.floors_hold]
    if skipped:
        print(f"skipped: {', '.join(skipped)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    if answers:
        took = f"{(time.monotonic() - began) / 60:.1f} minutes"
        print(f"below a floor, or not certain: {', '.join(missed)}" if missed else "all floors hold", f"({took})")
    return 1 if missed or failed else 0


def _ask(
    questions: dict[str, AnyQuestion], *, rounds: int | None, quick: bool
) -> tuple[list[Answer], list[str], list[str]]:
    """Ask all of them in turn; return the answers, and the names of what was skipped, and of what has failed."""
    answers: list[Answer] = []
    skipped: list[str] = []
    failed: list[str] = []
    labs: dict[object, AnyLab] = {}
    for name, question in questions.items():
        lacking = question.lacking()
        if lacking is not None:
            print(f"\n{name.upper()}  skipped: {lacking}", flush=True)
            skipped.append(name)
            continue
        started, seconds = time.monotonic(), 0.0
        try:
            if question.measured_by not in labs:
                labs[question.measured_by] = _measured(name, question, questions, rounds=rounds, quick=quick)
                seconds = time.monotonic() - started
            answer = Answer.of(name, question, labs[question.measured_by], seconds)
        except Exception:  # noqa: BLE001 - whatever went wrong with this one: the figures of the others are kept
            _clear_line()
            print(f"\n{name.upper()}  failed:\n{traceback.format_exc()}", flush=True)
            failed.append(name)
            continue
        _clear_line()
        answers.append(answer)
        print(f"\n{answer.as_text()}", flush=True)
    return answers, skipped, failed


def _measured(
    name: str, question: AnyQuestion, questions: dict[str, AnyQuestion], *, rounds: int | None, quick: bool
) -> AnyLab:
    """Have it measured, until that is enough for all questions that are measured by the same."""
    alike = [each for each in questions.values() if each.measured_by == question.measured_by]
    first = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    return question.ask(
        rounds=first,
        most=first if rounds or quick else MOST_ROUNDS,
        settled=lambda records: _settled(alike, records),
        quick=quick,
        say=_progress(name),
    )


def _settled(questions: Sequence[AnyQuestion], records: Records) -> bool:
    """Whether more rounds would be of no use: every floor holds for certain, or does not hold."""
    verdicts = []
    for check in (check for question in questions for check in question.checks):
        try:
            verdicts.append(check.judge(records))
        except KeyError:  # It is about a metric of other rounds of the same question.
            continue
    return all(verdict.floor_holds or not verdict.median_holds for verdict in verdicts)


def _options(package: ModuleType, arguments: Sequence[str] | None) -> argparse.Namespace:
    names, judged = question_names(package), judged_names(package)
    parser = argparse.ArgumentParser(prog=f"python -m {package.__name__}", description=(package.__doc__ or "").strip())
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"of {', '.join(names)}; default: {judged[0]} to {judged[-1]}" if judged else "none",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of less work")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"how many (default: {ROUNDS}, and up to {MOST_ROUNDS} where these leave a floor in doubt)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the figures; default: a new one in results/")
    parser.add_argument("--against", type=Path, metavar="FILE", help="of an earlier run: say what is different now")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.questions if name not in names]:
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(names)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {options.rounds}")
    options.questions = list(dict.fromkeys(options.questions)) or judged
    if options.against is not None:
        try:
            options.against = read_run(options.against)
        except ValueError as error:
            parser.error(f"--against: {error}")
    return options


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
