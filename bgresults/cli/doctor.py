"""``bgresults doctor``."""

from __future__ import annotations

import json

import click

from bgresults.cli.ending import end_with, usage_errors
from bgresults.cli.packages import require
from bgresults.cli.source import Source, source_of, source_options
from bgresults.diagnosis import examine

__all__ = ["doctor"]


@click.command()
@source_options
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds for each step.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def doctor(
    url: str | None,
    app: str | None,
    key_prefix: str | None,
    serializer: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Try out all that a watcher needs, and say of each thing what is wrong and what to do about it.

    The URL, TLS, the server's version, the permissions, the prefix, the settings of the Celery application, and a
    result of its own from the writing to the future.

    Exit code 0: results can arrive. 1: something is wrong. 2: the options make no sense. 130: Ctrl-C.
    """
    require("cli", "rich")
    end_with(lambda: _examine(source_of(url, app, key_prefix, serializer), timeout, as_json=as_json))


def _examine(source: Source, timeout: float, *, as_json: bool) -> int:
    watcher = source.watcher()
    try:
        with usage_errors():
            diagnosis = examine(watcher, timeout=timeout)
    finally:
        watcher.close(1.0)
    if as_json:
        click.echo(json.dumps(diagnosis.as_dict()))
    else:
        from bgresults.cli.terminal import Row, show

        show(
            diagnosis.address,
            [
                Row(finding.level, finding.code, finding.text, () if finding.cure is None else (f"-> {finding.cure}",))
                for finding in diagnosis.findings
            ],
        )
    return diagnosis.exit_code
