"""Run the tests in two halves at the same time: most of them wait for a server or for a clock.

``python -m tests.halves [arguments of pytest]``. The output of the one half comes live, that of the other at the end.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

__all__ = ["ONE_HALF", "commands", "main"]

#: Together they take as long as everything else.
ONE_HALF = ("tests/celery", "tests/examples", "tests/faults", "tests/sse")
# Nothing was collected: the arguments may have chosen tests of the other half alone.
_NO_TESTS = 5


def commands(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What to run for each half. A folder that is new is in the second one by itself."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    return [*pytest, *ONE_HALF], [*pytest, "tests", *(f"--ignore={folder}" for folder in ONE_HALF)]


def main(arguments: Sequence[str]) -> int:
    """Run both; returns 0 if both passed."""
    one, other = commands(arguments)
    with tempfile.TemporaryFile("w+") as output:
        # Both are in the foreground process group: a Ctrl-C ends both.
        with subprocess.Popen(other, stdout=output, stderr=subprocess.STDOUT) as running:
            codes = [subprocess.run(one, check=False).returncode, running.wait()]
        output.seek(0)
        sys.stdout.write(f"\n{'=' * 50} the other half {'=' * 50}\n")
        for line in output:
            sys.stdout.write(line)
    if all(code in (0, _NO_TESTS) for code in codes):
        return 0 if 0 in codes else _NO_TESTS
    return next(code for code in codes if code not in (0, _NO_TESTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
