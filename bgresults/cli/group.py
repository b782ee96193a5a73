"""``bgresults``: the commands that there are."""

from __future__ import annotations

import click

from bgresults.cli.bench import bench
from bgresults.cli.demo import demo
from bgresults.cli.doctor import doctor
from bgresults.cli.status import status
from bgresults.cli.watch import watch

__all__ = ["bgresults"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bgresults")
def bgresults() -> None:
    """The results of Celery tasks: wait for them, and find out why they do not come."""


for _command in (watch, doctor, status, demo, bench):
    bgresults.add_command(_command)
