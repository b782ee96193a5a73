"""``bgresults bench``: the questions of the repository's ``benchmarks/``, which wheels carry along."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType

import click

import bgresults
from bgresults.cli.ending import end_with
from bgresults.cli.packages import require

__all__ = ["bench"]

# In a wheel; see pyproject.toml.
_PACKED = "bgresults.benchmarking.questions"


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Measure this library beside Celery's own waiting, on this machine.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure; all arguments are those of ``python -m benchmarks``."""
    require("demo", "celery", "redis")

    def run() -> int:
        from bgresults.benchmarking import main

        given = list(arguments)
        if not any(word == "--json" or word.startswith("--json=") for word in given):
            # Beside the questions it would be in the folder of an installed package.
            given += ["--json", f"bgresults-bench-{time.strftime('%Y%m%d-%H%M%S')}.json"]
        return main(_questions(), given)

    end_with(run)


def _questions() -> ModuleType:
    """The package of the questions: that of the wheel, or that of the repository that this was installed from."""
    try:
        return importlib.import_module(_PACKED)
    except ModuleNotFoundError as error:
        if error.name != _PACKED:
            raise
    root = Path(bgresults.__file__).resolve().parents[1]
    if not (root / "benchmarks" / "p1.py").is_file():
        raise click.ClickException("this installation has no benchmarks; those of a wheel have")
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks")
