"""A process without memory for the stack of another thread: ``python -m tests.limits.programs.stacks URL``."""

from __future__ import annotations

import resource
import sys
import threading

from bgresults import ResultWatcher
from tests.limits.backends import WAIT, backend_of
from tests.support.results import new_id

_MIB = 1024 * 1024
# What the process itself may still ask for meanwhile; a stack of ours is larger.
_ROOM = 64 * _MIB
_STACK = 4 * _ROOM


def main(url: str) -> None:
    backend = backend_of(url)
    with ResultWatcher(url) as watcher:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm", encoding="ascii") as sizes:
            used = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, hard))
        threading.stack_size(_STACK)
        error = watcher.watch(new_id()).exception(0)
        assert watcher.pending == 0
        threading.stack_size(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        future = watcher.watch(new_id())
        backend.send(watcher, future.task_id, "works")
        assert future.result(WAIT) == "works"
    backend.close()
    print(error)


if __name__ == "__main__":
    main(sys.argv[1])
