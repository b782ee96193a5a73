"""What P16 starts: a program that times the fork hooks of the library within real forks, and prints them as JSON.

The library is imported late: its hooks are wrapped as they are registered. Arguments: the URL, how many ids are
pending, how many forks.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

# Of the fork that is going on: seconds.
_spent = 0.0


def _timed(hook: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        global _spent
        started = time.perf_counter()
        hook()
        _spent += time.perf_counter() - started

    return run


def _import_with_timed_hooks() -> int:
    """Import the library; return how many hooks of its own it has that run in the parent."""
    register, timed = os.register_at_fork, 0

    def wrapping(**hooks: Any) -> None:
        nonlocal timed
        for when in ("before", "after_in_parent"):
            if when in hooks and hooks[when].__module__.partition(".")[0] == "bgresults":
                hooks[when] = _timed(hooks[when])
                timed += 1
        register(**hooks)

    os.register_at_fork = wrapping  # type: ignore[assignment]
    try:
        import bgresults.benchmarking.contenders  # noqa: F401 - for its hooks
    finally:
        os.register_at_fork = register
    return timed


def _fork() -> float:
    """Fork once; return the seconds that the hooks took in this process."""
    global _spent
    _spent = 0.0
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return _spent


def main(url: str, pending: int, forks: int) -> None:
    """Watch, fork, and print what each fork took."""
    # Forks of a process with threads, which Python warns of from 3.12 on, are what this is about.
    warnings.simplefilter("ignore", DeprecationWarning)
    if _import_with_timed_hooks() == 0:
        raise RuntimeError("the library has no fork hooks to be timed")
    from bgresults.benchmarking.contenders import Ours
    from bgresults.benchmarking.waiting import until_subscribed
    from bgresults.benchmarking.wire import new_ids

    contender = Ours(url, max_pending=pending + 1)
    task_ids = new_ids(pending)
    futures = contender.watcher.watch_many(task_ids)
    until_subscribed(url, task_ids)
    print(json.dumps([_fork() for _ in range(forks)]))
    del futures
    contender.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
