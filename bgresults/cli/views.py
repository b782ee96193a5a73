"""What ``bgresults watch`` writes where there is no terminal: lines for people, or JSON for scripts."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

import click

from bgresults.cli.text import news_of
from bgresults.diagnosis import Following
from bgresults.meta import TaskMeta
from bgresults.sse.plain_json import TooLargeError, json_text, plain, printable
from bgresults.task_exceptions import exception_from

__all__ = ["JSONView", "PlainView", "View", "complain"]

# Characters of one value, as JSON.
_MOST = 256 * 1024 * 1024


class View(Protocol):
    """Shows the states of tasks."""

    def shown(self, following: Following) -> contextlib.AbstractContextManager[None]:
        """Show something meanwhile."""
        ...

    def state(self, state: TaskMeta) -> None:
        """One state."""

    def end(self, following: Following) -> None:
        """How it all ended."""


class PlainView:
    """A line for each state on standard output; what goes wrong with the waiting, on standard error."""

    @contextlib.contextmanager
    def shown(self, following: Following) -> Iterator[None]:
        """Nothing else."""
        yield

    def state(self, state: TaskMeta) -> None:
        """One line."""
        click.echo(line_of(state))

    def end(self, following: Following) -> None:
        """What nobody was told yet."""
        complain(following)


class JSONView:
    """An object for each event, one on each line, of which the last is ``end``."""

    @contextlib.contextmanager
    def shown(self, following: Following) -> Iterator[None]:
        """Nothing else."""
        yield

    def state(self, state: TaskMeta) -> None:
        """``{"event": "state", …}``."""
        self._tell("state", task_id=state.task_id, status=state.status, ready=state.ready, **_outcome(state))

    def end(self, following: Following) -> None:
        """``{"event": "error", …}`` for each id that could not be waited for, and ``{"event": "end", …}``."""
        for task_id, error in following.errors.items():
            self._tell("error", task_id=task_id, error=type(error).__name__, message=str(error))
        self._tell("end", outcome=following.outcome, exit_code=following.exit_code, pending=following.pending)

    def _tell(self, event: str, **values: Any) -> None:
        click.echo(json_text({"event": event, "at": round(time.time(), 3), **values}))


def line_of(state: TaskMeta) -> str:
    """A state for people."""
    return " ".join(filter(None, [printable(state.task_id), printable(state.status), news_of(state)]))


def complain(following: Following) -> None:
    """Say on standard error what went wrong with the waiting."""
    for task_id, error in following.errors.items():
        click.echo(f"{printable(task_id)}: {printable(str(error))}", err=True)
    if following.pending and not following.errors:
        why = "; there was no connection" if following.outcome == "unavailable" else ""
        click.echo(f"time is up{why}; not ended yet: {', '.join(map(printable, following.pending))}", err=True)
    sys.stderr.flush()


def _outcome(state: TaskMeta) -> dict[str, Any]:
    if state.status in ("FAILURE", "REVOKED", "RETRY"):
        error = state.result if isinstance(state.result, BaseException) else exception_from(state.raw)
        told = {"type": type(error).__name__, "message": str(error), "traceback": state.traceback}
        return {"error": plain(told, _MOST)}
    try:
        return {"result": plain(state.result, _MOST)}
    except TooLargeError:
        return {"result": None, "result_left_out": f"as JSON it has more than {_MOST} characters"}
