"""Run the tests in four parts at the same time: most of them wait for a server or for a clock.

``python -m tests.parts [--apart FOLDER] [arguments of pytest]``, where a folder that is given is a part of its own. The
output of the first part comes live, that of the others at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

__all__ = ["APART", "PARTS", "commands", "main"]

#: Each takes about as long as the other, and as everything that is in neither.
PARTS = (
    ("tests/faults", "tests/docs", "tests/monitoring"),
    # The first two ask for the same workers.
    ("tests/celery", "tests/e2e", "tests/django", "tests/flask"),
    ("tests/cli", "tests/examples", "tests/limits", "tests/servers", "tests/soak", "tests/sse"),
)
#: What may be parts of their own: with their slow tests, each takes as long as all that is left.
APART = ("tests/interleavings", "tests/model")
# Nothing was collected: the arguments may have chosen tests of the other parts alone.
_NO_TESTS = 5


def commands(arguments: Sequence[str], apart: Sequence[str] = ()) -> list[list[str]]:
    """What to run for each part. A folder that is new is in the last one by itself."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    parts = [*PARTS, *((folder,) for folder in apart)]
    elsewhere = [f"--ignore={folder}" for folders in parts for folder in folders]
    return [*([*pytest, *folders] for folders in parts), [*pytest, "tests", *elsewhere]]


def main(arguments: Sequence[str]) -> int:
    """Run all; returns 0 if all passed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--apart", action="append", default=[], choices=APART)
    chosen, for_pytest = parser.parse_known_args(arguments)
    first, *others = commands(for_pytest, chosen.apart)
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in others]
        # All are in the foreground process group: a Ctrl-C ends all.
        running = [
            stack.enter_context(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
            for command, output in zip(others, outputs, strict=True)
        ]
        codes = [subprocess.run(first, check=False).returncode, *(process.wait() for process in running)]
        for number, output in enumerate(outputs, start=2):
            output.seek(0)
            sys.stdout.write(f"\n{'=' * 50} part {number} of {len(codes)} {'=' * 50}\n")
            sys.stdout.writelines(output)
    if all(code in (0, _NO_TESTS) for code in codes):
        return 0 if 0 in codes else _NO_TESTS
    return next(code for code in codes if code not in (0, _NO_TESTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
