"""What ``bgresults watch`` shows on a terminal: a bar for each task that is not done, and a line for each that is.

Painting costs milliseconds, whatever has changed, and states may come by the thousand: so they are written down as they
come, and painted some times a second.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from bgresults.cli.terminal import console
from bgresults.cli.text import news_of, progress_of
from bgresults.cli.views import complain
from bgresults.diagnosis import Following
from bgresults.meta import TaskMeta
from bgresults.sse.plain_json import printable

__all__ = ["BarsView"]

_STYLES = {"SUCCESS": "green", "FAILURE": "bold red", "REVOKED": "yellow"}
# Seconds.
_EVERY = 0.1
# Lines that the bars leave to the rest: the one that counts, and where the cursor is.
_OTHER_LINES = 3
# Columns from which on there is room for the time.
_WIDE = 100


class BarsView:
    """One thread tells it states, another one paints."""

    def __init__(self) -> None:
        self._console = console()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[status]}", markup=False, style="cyan"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[percent]}", markup=False),
            *([TimeElapsedColumn()] if self._console.width >= _WIDE else []),
            TextColumn("{task.fields[news]}", markup=False),
            console=self._console,
            expand=True,
            auto_refresh=False,
        )
        self._rows: dict[str, TaskID] = {}
        self._count: TaskID | None = None
        self._ended_lines: deque[Text] = deque()
        self._all = 0

    @contextlib.contextmanager
    def shown(self, following: Following) -> Iterator[None]:
        """Bars, meanwhile."""
        self._all = len(following.task_ids)
        # All of them before the first one is painted: adding one to what is on the screen paints it.
        if self._all > 1:
            self._count = self._bars.add_task("ended", total=self._all, status="", percent=f"0 of {self._all}", news="")
        for task_id in following.task_ids:
            self._rows[task_id] = self._bars.add_task(
                printable(task_id), total=None, visible=False, status="…", percent="", news=""
            )
        self._make_room()
        over = threading.Event()
        painter = threading.Thread(target=self._paint_until, args=(over,), name="bgresults-bars", daemon=True)
        with self._bars:
            painter.start()
            try:
                yield
            finally:
                over.set()
                painter.join()
                self._paint()

    def state(self, state: TaskMeta) -> None:
        """Move its bar; or, if it has ended, have a line in its place."""
        row = self._rows.get(state.task_id)
        if row is None:
            return
        if state.ready:
            self._ended(state, row)
            return
        percent, description = progress_of(state)
        self._bars.update(
            row,
            total=None if percent is None else 100,
            completed=percent or 0,
            status=printable(state.status),
            percent="" if percent is None else f"{percent:.0f} %",
            news=printable(description),
        )

    def end(self, following: Following) -> None:
        """What no bar can say."""
        complain(following)

    def _ended(self, state: TaskMeta, row: TaskID) -> None:
        del self._rows[state.task_id]
        self._bars.remove_task(row)
        if self._count is not None:
            done = self._all - len(self._rows)
            self._bars.update(self._count, completed=done, percent=f"{done} of {self._all}")
        style = _STYLES.get(state.status, "")
        self._ended_lines.append(
            Text.assemble(printable(state.task_id), " ", (state.status, style), " ", news_of(state))
        )
        self._make_room()

    def _make_room(self) -> None:
        """As many bars as there are lines: those of the ids that were named first."""
        room = max(1, self._console.height - _OTHER_LINES)
        for row in itertools.islice(self._rows.values(), room):
            self._bars.update(row, visible=True)

    def _paint_until(self, over: threading.Event) -> None:
        while not over.wait(_EVERY):
            self._paint()

    def _paint(self) -> None:
        lines = [self._ended_lines.popleft() for _ in range(len(self._ended_lines))]
        if lines:
            self._console.print(Text("\n").join(lines))
        self._bars.refresh()
