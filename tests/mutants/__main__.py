"""``python -m tests.mutants [NAME ...]``: is each wrong edit of the library noticed by the test that should?"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.workshop import Verdict, Workshop

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bgresults", "tests", "pyproject.toml", "README.md")


def main(names: list[str]) -> int:
    """Try the named mutants, or all; return the exit code."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        print(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(mutant.name for mutant in MUTANTS)}")
        return 2
    mutants = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with tempfile.TemporaryDirectory(prefix="bgresults-mutants-") as folder:
        workshop = Workshop(ROOT, Path(folder), parts=PARTS)
        if not workshop.passes(sorted({mutant.killer for mutant in mutants})):
            print("\nthe tests fail without any mutant: nothing can be said")
            return 1
        width = max(len(mutant.name) for mutant in mutants)
        verdicts = []
        for mutant in mutants:
            started = time.monotonic()
            verdicts.append(workshop.try_out(mutant))
            taken = time.monotonic() - started
            print(f"{mutant.name:{width}}  {verdicts[-1].value:8}  {taken:5.1f} s  {mutant.killer}", flush=True)
    killed = verdicts.count(Verdict.KILLED)
    print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
