"""``bgresults status``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bgresults.cli.ending import end_with, usage_errors
from bgresults.cli.packages import require
from bgresults.cli.source import URL_VARIABLE, Source, source_of, source_options
from bgresults.consumers import ConnectionLost
from bgresults.diagnosis import Answer, ask_all, overview_of
from bgresults.errors import WatcherError
from bgresults.status.wanted import STATUS_DIR

__all__ = ["status"]


@click.command()
@click.option(
    "--dir",
    "directory",
    envvar=STATUS_DIR,
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Where the processes answer: what they have as BGRESULTS_STATUS_DIR, or gave to serve_status().",
)
@source_options
@click.option("--queue", "queues", multiple=True, help="A reply queue to look at as well.  [those of the processes]")
@click.option(
    "--ids", "most", type=click.IntRange(0), default=5, show_default=True, help="How many ids to show of each."
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with up to 1000 ids of each, for scripts.")
def status(
    directory: Path | None,
    url: str | None,
    app: str | None,
    key_prefix: str | None,
    serializer: str | None,
    queues: tuple[str, ...],
    most: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Say how running processes are doing: connected? keeping up? who waits for what, since when? what was lost?

    With --dir, each process of this machine that answers there says so itself. With --url or --app, the server says
    what it knows of all of them, on any machine.

    Exit code 0: nothing is wrong. 1: something is. 2: the options make no sense. 130: Ctrl-C.
    """
    require("cli", "rich")

    def run() -> int:
        source = source_of(url, app, key_prefix, serializer)
        if directory is None and not source:
            raise click.UsageError(
                f"who shall be asked? Give --dir ({STATUS_DIR}) for processes, --url ({URL_VARIABLE}) or --app for the "
                "server, or both"
            )
        answers = None if directory is None else _ask_all(directory, timeout)
        server = _ask_server(source, _queues(queues, answers or []), timeout) if source else None
        from bgresults.cli.status_rows import told

        blocks = told(answers, server, directory, most)
        if as_json:
            _print_json(answers, server, ok=not any(block.wrong for block in blocks))
        else:
            for block in blocks:
                block.show()
        return 1 if any(block.wrong for block in blocks) else 0

    end_with(run)


def _ask_all(directory: Path, timeout: float) -> list[Answer]:
    try:
        return ask_all(directory, timeout=timeout)
    except FileNotFoundError as error:
        # Each process makes it when its watcher is used first.
        raise click.UsageError(
            f"--dir {directory}: No such directory; it is what the processes have as {STATUS_DIR} in their "
            "environment, and is made by the first of them that uses a watcher"
        ) from error
    except OSError as error:
        raise click.UsageError(f"--dir {directory}: {error.strerror or error}") from error


def _ask_server(source: Source, queues: list[str], timeout: float) -> dict[str, Any]:
    """What it says; or ``{"trouble": …, "cure": …}``."""
    watcher = source.watcher(connect_timeout=timeout)
    try:
        with usage_errors():
            return overview_of(watcher, queues=queues)
    except ConnectionLost as lost:
        return {"trouble": lost.reason, "cure": lost.cure}
    except WatcherError as error:
        raise click.UsageError(str(error)) from error
    finally:
        watcher.close(1.0)


def _queues(named: tuple[str, ...], answers: list[Answer]) -> list[str]:
    statuses = [answer.status for answer in answers if answer.status is not None]
    found = [watcher["reply_queue"] for status in statuses for watcher in status["watchers"]]
    return [*named, *(queue for queue in found if queue)]


def _print_json(answers: list[Answer] | None, server: dict[str, Any] | None, *, ok: bool) -> None:
    processes = None
    if answers is not None:
        processes = [
            {"process": answer.process, "gone": answer.gone, "trouble": answer.trouble, "status": answer.status}
            for answer in answers
        ]
    click.echo(json.dumps({"ok": ok, "processes": processes, "server": server}))
