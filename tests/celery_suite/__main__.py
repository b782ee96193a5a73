"""``python -m tests.celery_suite [BACKEND ...] [-k EXPRESSION]``: both columns of each backend, and where they differ.

The exit code is 0 if the drop-in does as well in every test, or has its reason in ``reasons.py``. Some of these tests
are races: one that went worse without a reason is run three times more, alone; only if all three pass, it is none.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.celery_suite.columns import BACKENDS, Outcomes, fetch, run_column
from tests.celery_suite.reasons import REASONS
from tests.versions.environments import ROOT

_ONCE_MORE = 3
_FOLDER = ROOT / ".celery-versions" / "source"


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.celery_suite", description=__doc__)
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help=f"of {', '.join(BACKENDS)}; all unless given")
    parser.add_argument("-k", dest="select", default="", metavar="EXPRESSION", help="as pytest's -k")
    arguments = parser.parse_args()
    if unknown := set(arguments.backends) - set(BACKENDS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(BACKENDS)}")
    source = fetch(_FOLDER)
    print(f"{source.name}, t/integration; logs and reports in {_FOLDER}")
    unexplained = 0
    for name in arguments.backends or BACKENDS:
        stock = run_column(source, name, drop_in=False, select=arguments.select)
        _say(name, "stock", stock)
        ours = run_column(source, name, drop_in=True, select=arguments.select)
        _say(name, "drop-in", ours)
        unexplained += sum(not _passes_now(source, name, test) for test in _compare(stock, ours))
    return 1 if unexplained else 0


def _say(name: str, column: str, outcomes: Outcomes) -> None:
    counts = Counter(outcomes.values())
    print(
        f"{name:6} {column:8} {counts['passed']:4} passed {counts['failed']:3} failed {counts['skipped']:3} skipped",
        flush=True,
    )


def _compare(stock: Outcomes, ours: Outcomes) -> list[str]:
    """Print every difference; return those that are for the worse and have no reason."""
    unexplained = []
    for test in sorted(stock.keys() | ours.keys()):
        before, after = stock.get(test, "not run"), ours.get(test, "not run")
        if before == after:
            continue
        if after == "passed":
            print(f"  {test}: {before} → passed")
            continue
        reason = next((text for part, text in REASONS.items() if test.endswith(part)), None)
        if reason is None:
            unexplained.append(test)
        print(f"  {test}: {before} → {after}: {reason or 'NO REASON KNOWN'}")
    return unexplained


def _passes_now(source: Path, name: str, test: str) -> bool:
    """Run one test of the drop-in's column again and again; whether it passed each time."""
    outcomes = []
    for _ in range(_ONCE_MORE):
        found = run_column(source, name, drop_in=True, select=test.rpartition("::")[2], report="again")
        outcomes.append(found.get(test, "not run"))
    print(f"  {test}: alone, with the drop-in: {', '.join(outcomes)}")
    return set(outcomes) == {"passed"}


if __name__ == "__main__":
    sys.exit(main())
