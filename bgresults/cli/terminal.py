"""What commands write to: rich on a terminal, lines of any length elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgresults.diagnosis.findings import Level
from bgresults.sse.plain_json import printable

__all__ = ["Row", "console", "show"]

_SIGNS = {"ok": ("ok", "green"), "note": ("--", "cyan"), "warning": ("!!", "yellow"), "error": ("XX", "bold red")}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Newer versions of rich exit here, with a code that says that something failed."""
        raise  # noqa: PLE0704 - it is called where the BrokenPipeError is being handled


def console() -> Console:
    """A new one, for standard output."""
    return _Console(highlight=False, markup=False, emoji=False)


@dataclass(frozen=True)
class Row:
    """One thing that was found, and what there is to say about it besides, a line each."""

    level: Level
    title: str
    text: str
    more: tuple[str, ...] = ()


def show(heading: str, rows: Iterable[Row]) -> None:
    """Write them under a heading."""
    if not sys.stdout.isatty():
        click.echo(printable(heading))
        for row in rows:
            click.echo(f"  {_SIGNS[row.level][0]} {row.title}: {printable(row.text)}")
            for line in row.more:
                click.echo(f"     {printable(line)}")
        return
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        sign, style = _SIGNS[row.level]
        table.add_row("", Text(sign, style), Text(row.title, "bold"), printable(row.text))
        for line in row.more:
            table.add_row("", "", "", Text(printable(line), "dim"))
    screen = console()
    screen.print(Text(printable(heading), "bold"))
    screen.print(table)
