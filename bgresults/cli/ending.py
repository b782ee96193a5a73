"""How a command ends, whatever happens: with an exit code, and without a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import click

__all__ = ["INTERRUPTED", "UNREAD", "end_with", "usage_errors"]

#: Ctrl-C, and whoever read the output has gone: as a shell tells of SIGINT and SIGPIPE.
INTERRUPTED, UNREAD = 130, 141
# Of a device that takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def end_with(command: Callable[[], int]) -> NoReturn:
    """Run it, and exit with the code that it returns.

    Raises:
        click.UsageError: something that it was told makes no sense; exit code 2.
        SystemExit: in all other cases.
    """
    # Of a shell's `>&-`: there is none, and the descriptor would be that of the next thing that is opened.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the rest of the process
    # What a terminal or a file of this locale cannot show shall not end the command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            if error.errno not in _FULL:
                raise
            # Not 1: that would say that a task failed.
            click.echo(f"bgresults: the output cannot be written: {error.strerror}", err=True)
        code = UNREAD
        # The interpreter flushes once more, as it exits.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Settings that make no sense, and say so, are the user's: one line, and exit code 2."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
