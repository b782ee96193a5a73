"""Run the tests under coverage.py, folder by folder, and say which lines and branches of the library they execute.

``python -m tests.covering [folders or files]``. Forked children, processes that the tests start, and those that
end by SIGTERM or ``os._exit()`` are measured too; those that are killed cannot write down what they did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["FOLDERS", "NOT_MEASURED", "main"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".coverage-data"
#: Per cent, of lines and branches together.
FLOOR = 97
#: What the library itself does not need; each is measured, and told, for itself.
APART = ("bgresults/benchmarking/*", "bgresults/demo/*")
#: These stop threads at each line with a trace function of their own, so coverage.py sees nothing there.
NOT_MEASURED = ("interleavings", "mutants", "versions")
#: The longest first.
FOLDERS = tuple(
    sorted(
        (path.parent.name for path in ROOT.glob("tests/*/__init__.py") if path.parent.name not in NOT_MEASURED),
        key=lambda name: (name not in ("celery", "faults", "integration", "unit"), name),
    )
)
# Where drain threads are greenlets. Looking for them everywhere may hang: see docs/coverage.md.
_WITH_GREENLETS = ("tests/servers",)
# The same page says why.
_LEFT_OUT = (
    "tests/celery/test_dropin_beside_stock.py::test_forks",
    "tests/faults/test_forks.py::test_four_children_under_load",
    "tests/limits/test_subinterpreters.py::test_isolated",
    "tests/servers/test_uwsgi.py",
)
# Of pytest: nothing was collected.
_NO_TESTS = 5
_AT_A_TIME = 2


def _run(place: str) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Run the tests of one place; returns it, and how that went."""
    folder = DATA / place.replace("/", "_").replace(":", "_")
    folder.mkdir(parents=True)
    left_out = [f"--deselect={test}" for test in _LEFT_OUT]
    # A line takes longer, so what has to be quick is given more time.
    pytest = ["pytest", "-q", "-m", "not slow", "--timeout=180", "-p", "no:cacheprovider", *left_out, place]
    concurrency = "thread,greenlet" if place.startswith(_WITH_GREENLETS) else "thread"
    command = [sys.executable, "-m", "coverage", "run", f"--concurrency={concurrency}", "-m", *pytest]
    environment = {**os.environ, "COVERAGE_FILE": str(folder / "data")}
    return place, subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def _report(*options: str) -> int:
    environment = {**os.environ, "COVERAGE_FILE": str(DATA / "combined")}
    command = [sys.executable, "-m", "coverage", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(places: Sequence[str]) -> int:
    """Run them, and report; 0 if all passed and enough is covered."""
    shutil.rmtree(DATA, ignore_errors=True)
    failed = False
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for place, ended in pool.map(_run, places or [f"tests/{name}" for name in FOLDERS]):
            print(f"{place}: {(ended.stdout.strip().splitlines() or ['no output'])[-1]}", flush=True)
            if ended.returncode not in (0, _NO_TESTS):
                failed = True
                print(ended.stdout, ended.stderr, sep="\n", flush=True)
    _report("combine", "--quiet", *(str(path) for path in sorted(DATA.glob("*/data.*"))))
    print("\nThe benchmarks and the demo, which start most of what they do in processes of their own:", flush=True)
    _report("report", f"--include={','.join(APART)}")
    print("\nThe library:", flush=True)
    enough = _report("report", f"--omit={','.join(APART)}", f"--fail-under={0 if places else FLOOR}") == 0
    return 0 if enough and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
