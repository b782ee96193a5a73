"""``bgresults watch``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import click

from bgresults.cli.ending import INTERRUPTED, end_with, usage_errors
from bgresults.cli.packages import require
from bgresults.cli.source import Source, giving_up_after, source_of, source_options
from bgresults.cli.views import JSONView, PlainView, View
from bgresults.diagnosis import Following, outages_told, why_unheard

__all__ = ["watch"]


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@source_options
@click.option("--timeout", type=float, help="Seconds for all of it.  [default: no limit]")
@click.option(
    "--give-up-after",
    type=float,
    default=30.0,
    show_default=True,
    help="Seconds that the server may be unreachable, at the start or in between.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each event and line, for scripts.")
@click.option("--plain", is_flag=True, help="Lines instead of progress bars, on a terminal too.")
def watch(
    ids: tuple[str, ...],
    url: str | None,
    app: str | None,
    key_prefix: str | None,
    serializer: str | None,
    timeout: float | None,
    give_up_after: float,
    as_json: bool,
    plain: bool,
) -> None:
    """Show the states of tasks as they come, until all have ended. ``-`` reads ids from standard input.

    Exit code 0: all have succeeded. 1: one failed. 2: the options make no sense. 3: of one it cannot be known how it
    ended. 4: one was revoked. 5: the server refuses, or cannot be reached. 124: --timeout is over. 130: Ctrl-C.
    """
    require("cli", "rich")

    def run() -> int:
        source = source_of(url, app, key_prefix, serializer)
        return _watch(source, list(_all_ids(ids)), timeout, give_up_after, _view(as_json=as_json, plain=plain))

    end_with(run)


def _all_ids(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from sys.stdin.read().split()
        else:
            yield argument


def _view(*, as_json: bool, plain: bool) -> View:
    if as_json:
        return JSONView()
    # On a dumb terminal nothing can be painted, so nothing would be seen before the end.
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        return PlainView()
    from bgresults.cli.bars import BarsView

    return BarsView()


def _watch(source: Source, ids: list[str], timeout: float | None, give_up_after: float, view: View) -> int:
    watcher = source.watcher(retry=giving_up_after(give_up_after))
    try:
        with usage_errors():
            if not ids:
                raise ValueError("there are no ids on standard input")
            following = Following(watcher, ids, timeout=timeout)
        if text := why_unheard(watcher):
            click.echo(text, err=True)
        with view.shown(following), outages_told(sys.stderr), usage_errors():
            for state in following:
                view.state(state)
        view.end(following)
    except KeyboardInterrupt:
        click.echo("interrupted; the tasks go on", err=True)
        return INTERRUPTED
    finally:
        watcher.close(1.0)
    return following.exit_code
