"""What is seen while it runs: a live picture in a terminal, a line a second elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bgresults.demo.board import Board
from bgresults.demo.plan import KINDS

__all__ = ["Display", "display_for"]

_BAR = 40
_REPORTING = 6


class Display(Protocol):
    """Shows what is going on."""

    console: Console

    def say(self, text: str) -> None:
        """One line."""

    def refresh(self, board: Board) -> None:
        """Show the board as it is now."""


class PlainDisplay:
    """Lines."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, color_system=None, width=100)
        self._next = 0.0
        self._shown = ""

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text)

    def refresh(self, board: Board) -> None:
        """A line a second, and one at the end."""
        now = time.monotonic()
        last = board.done == board.total
        if now < self._next and not last:
            return
        self._next = now + 1.0
        text = f"  {board.title}: {board.done} of {board.total} done, {board.waiting} threads waiting"
        if board.sees_updates:
            text += f", {board.updates} progress reports"
        if text != self._shown:
            self._shown = text
            self.console.print(text)


class LiveDisplay:
    """A picture that changes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=10, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """One line, above the picture."""
        self._live.update("")
        self.console.print(text)

    def refresh(self, board: Board) -> None:
        """Draw the board."""
        self._live.update(_picture(board))

    def stop(self) -> None:
        """Take the picture away."""
        self._live.update("")
        self._live.stop()


def _picture(board: Board) -> RenderableType:
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(board.total, board.done, width=_BAR)
    head.add_row(Text(board.title, style="bold"), bar, f"{board.done} of {board.total}")
    facts = Table.grid(padding=(0, 2))
    for kind in KINDS:
        facts.add_row(f"  {kind}", Text(str(board.ended[kind]), justify="right", style="green"))
    facts.add_row("  threads waiting", Text(str(board.waiting), justify="right"))
    if board.connections is not None:
        facts.add_row("  connections, at most", Text(str(board.connections), justify="right"))
    if board.problems:
        facts.add_row("  unexpected", Text(str(len(board.problems)), justify="right", style="red"))
    parts: list[RenderableType] = [head, facts]
    if board.sees_updates:
        parts.append(_reports(board))
    return Group(*parts)


def _reports(board: Board) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(f"  progress reports: {board.updates}"), "", "")
    for task_id, done, of in board.in_progress()[:_REPORTING]:
        bar = ProgressBar(of or 1, done, width=_BAR // 2)
        table.add_row(Text(f"    {task_id[:8]}", style="dim"), bar, f"{done} of {of}")
    return table


@contextmanager
def display_for(*, plain: bool) -> Iterator[Display]:
    """The live one if stdout is a terminal, unless plain lines are asked for."""
    console = Console(highlight=False)
    if plain or not console.is_terminal:
        yield PlainDisplay()
        return
    live = LiveDisplay(console)
    try:
        yield live
    finally:
        live.stop()
