"""Where the results are: ``--url``, or what a Celery application says; and the watcher for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from bgresults.cli.ending import usage_errors
from bgresults.cli.packages import require
from bgresults.options import RetryPolicy
from bgresults.watcher import ResultWatcher

__all__ = ["URL_VARIABLE", "Source", "source_of", "source_options"]

URL_VARIABLE = "BGRESULTS_URL"

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--url",
        envvar=URL_VARIABLE,
        show_envvar=True,
        help="Where the workers store results, or their broker. One with a password is better set in the environment.",
    ),
    click.option("--app", "-A", metavar="MODULE:APP", help="A Celery application that says where, as for celery -A."),
    click.option("--key-prefix", help="The global_keyprefix of the workers."),
    click.option("--serializer", help="The result_serializer of the workers.  [default: json]"),
)


def source_options(command: _Command) -> _Command:
    """Give a command the options that :func:`source_of` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Source:
    """What the options say."""

    url: str | None
    app: str | None
    settings: dict[str, Any]

    def __bool__(self) -> bool:
        return self.url is not None or self.app is not None

    def watcher(self, **more: Any) -> ResultWatcher:
        """Make a watcher of it; it is not connected.

        Raises:
            click.UsageError: it cannot be made, or there is neither a URL nor an application.
        """
        settings = {**self.settings, **more}
        with usage_errors():
            if self.app is not None:
                settings |= {} if self.url is None else {"url": self.url}
                application = _application(self.app)
                from bgresults.integrations.celery.registry import separate_watcher

                # Its module may have a watcher of its own, made with other settings than a command needs.
                return separate_watcher(application, settings)
            if self.url is None:
                raise ValueError(f"where are the results? Give --url, --app, or {URL_VARIABLE} in the environment")
            return ResultWatcher(self.url, **{"name": "cli", **settings})


def source_of(url: str | None, app: str | None, key_prefix: str | None, serializer: str | None) -> Source:
    """What the options of :func:`source_options` say. An application that was named wins over the environment."""
    settings = {"key_prefix": key_prefix, "serializer": serializer}
    context = click.get_current_context()
    if app is not None and context.get_parameter_source("url") is ParameterSource.ENVIRONMENT:
        url = None
    return Source(url, app, {name: value for name, value in settings.items() if value is not None})


def giving_up_after(seconds: float) -> RetryPolicy:
    """For a command that shall end."""
    with usage_errors():
        return RetryPolicy(give_up_after=seconds)


def _application(place: str) -> Any:
    require("celery", "celery")
    from bgresults.integrations.celery.applications import application, import_application

    # As of `celery -A`, and of `python -m`: the project is where one is.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return application(import_application(place))
    # A module that exits, as scripts do, must not end the command as if that were the outcome.
    except (Exception, SystemExit) as error:
        raise click.UsageError(
            f"--app {place}: it cannot be had ({type(error).__name__}: {error}); write it as for celery -A, such as "
            "proj.celery:app"
        ) from error
