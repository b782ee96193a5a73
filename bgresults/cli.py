"""The command line: ``bgresults`` and ``python -m bgresults``."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def _missing(*packages: str) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def _give_up(missing: list[str]) -> int:
    verb = "is" if len(missing) == 1 else "are"
    print(f"bgresults: {', '.join(missing)} {verb} not installed; pip install 'bgresults[demo]'", file=sys.stderr)
    return 2


def main() -> None:
    """Run the command that the arguments name, and exit."""
    # Optional packages: an ImportError with a traceback is no answer to somebody who tries this for the first time.
    if missing := _missing("click"):
        sys.exit(_give_up(missing))
    import click

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="bgresults")
    def bgresults() -> None:
        """The results of Celery tasks as concurrent.futures.Future objects."""

    @bgresults.command()
    @click.option("--threads", type=click.IntRange(1, 1000), default=64, show_default=True, help="That wait at once.")
    @click.option("--tasks", type=click.IntRange(1, 100_000), help="That each side sends.  [default: fits the server]")
    @click.option("--plain", is_flag=True, help="Print lines instead of a live picture.")
    def demo(threads: int, tasks: int | None, plain: bool) -> None:
        """Show the library at work: a server and a Celery worker are started, used, and ended again."""
        if missing := _missing("celery", "rich"):
            sys.exit(_give_up(missing))
        from bgresults.demo.runner import run_demo

        try:
            sys.exit(run_demo(threads=threads, tasks=tasks, plain=plain))
        except KeyboardInterrupt:
            print("\ninterrupted; everything that was started is ended", file=sys.stderr)
            sys.exit(130)
        except RuntimeError as error:
            print(f"bgresults: {error}", file=sys.stderr)
            sys.exit(1)

    bgresults(prog_name="bgresults")


if __name__ == "__main__":
    main()
