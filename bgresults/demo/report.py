"""The table at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich import box
from rich.console import Console
from rich.table import Table

from bgresults.demo.board import Figures, percentile
from bgresults.demo.plan import KINDS

__all__ = ["print_report"]


def print_report(console: Console, figures: Sequence[Figures]) -> None:
    """One column for each way of waiting, and what went wrong below."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, show_edge=False, pad_edge=False)
    table.add_column("the same work, waited for with")
    for each in figures:
        table.add_column(each.title, justify="right", style="bold" if each is figures[0] else "")
    for label, text in _rows(figures):
        table.add_row(label, *map(text, figures))
    console.print()
    console.print(table)
    console.print()
    for each in figures:
        for problem in each.problems[:5]:
            console.print(f"unexpected, {each.title}: {problem}", markup=False)


def _rows(figures: Sequence[Figures]) -> list[tuple[str, Callable[[Figures], str]]]:
    rows: list[tuple[str, Callable[[Figures], str]]] = []
    for kind in KINDS:
        rows.append((f"tasks that {_verb(kind)}", partial(_ended, kind)))
    rows.append(("anything unexpected", lambda each: str(len(each.problems))))
    rows.append(("progress reports seen live", lambda each: "-" if each.updates is None else str(each.updates)))
    for share in (50, 99):
        rows.append((f"send to result, p{share}", partial(_milliseconds, share)))
    if any(each.connections is not None for each in figures):
        rows.append(("connections to the result backend", lambda each: str(each.connections)))
    return rows


def _verb(kind: str) -> str:
    return f"were {kind}" if kind.startswith("revoked") else kind


def _ended(kind: str, figures: Figures) -> str:
    return str(figures.ended[kind])


def _milliseconds(share: int, figures: Figures) -> str:
    return f"{percentile(figures.seconds, share) * 1000:.1f} ms" if figures.seconds else "-"
