"""What ends a test run that hangs where pytest-timeout cannot: in C code that keeps the interpreter's lock.

pytest-timeout writes the stacks and ends the run, in a thread of Python's. Should that not come to it, faulthandler
does, a little later, in a thread that needs nothing. Not before: it reads the stacks of threads while they run, which
crashes the interpreter now and then.
"""

from __future__ import annotations

import faulthandler
import os
from typing import Any

import pytest
from pytest_timeout import is_debugging

__all__ = ["GRACE", "pytest_configure", "pytest_timeout_cancel_timer", "pytest_timeout_set_timer"]

#: Seconds after the time limit of a test.
GRACE = 10.0

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # That of the terminal: while a test runs, what it writes is captured.
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    if not is_debugging():
        faulthandler.dump_traceback_later(settings.timeout + GRACE, exit=True, file=item.config.stash[_STDERR])


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    faulthandler.cancel_dump_traceback_later()
