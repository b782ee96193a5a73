"""Several forked children at a time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.support.forks import run_in_child

__all__ = ["run_in_children"]


def run_in_children(
    count: int,
    function: Callable[[], object],
    *,
    fork: Callable[[], int],
    quiet: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    seconds: int = 20,
) -> list[int]:
    """Fork ``count`` times, have all children run ``function`` at once; return their exit codes.

    As :func:`~tests.support.forks.run_in_child` for each, which says what the codes mean. All forks are made by the
    calling thread: where Python does not hear of one, only the main thread counts as that in the child.

    Args:
        seconds: after which a child has hung.
        quiet: entered around the forks, and left as soon as the last child is there.
    """
    # What is buffered would be written by each child too.
    sys.stdout.flush()
    sys.stderr.flush()
    pids = []
    with quiet():
        for _ in range(count):
            pid = fork()
            if pid == 0:
                # Forked already: does what a child does, and ends there.
                run_in_child(function, fork=lambda: 0, seconds=seconds)
            pids.append(pid)
    return [run_in_child(function, fork=lambda pid=pid: pid, seconds=seconds) for pid in pids]  # type: ignore[misc]
