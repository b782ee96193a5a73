"""``bgresults demo``."""

from __future__ import annotations

import sys

import click

from bgresults.cli.ending import INTERRUPTED, end_with
from bgresults.cli.packages import require

__all__ = ["demo"]


@click.command()
@click.option("--threads", type=click.IntRange(1, 1000), default=64, show_default=True, help="That wait at once.")
@click.option("--tasks", type=click.IntRange(1, 100_000), help="That each side sends.  [default: fits the server]")
@click.option("--plain", is_flag=True, help="Print lines instead of a live picture.")
def demo(threads: int, tasks: int | None, plain: bool) -> None:
    """Show the library at work: a server and a Celery worker are started, used, and ended again."""
    require("demo", "celery", "rich")
    from bgresults.demo.runner import run_demo

    def run() -> int:
        try:
            return run_demo(threads=threads, tasks=tasks, plain=plain)
        except KeyboardInterrupt:
            print("\ninterrupted; everything that was started is ended", file=sys.stderr)
            return INTERRUPTED
        except RuntimeError as error:
            print(f"bgresults: {error}", file=sys.stderr)
            return 1

    end_with(run)
