"""Threads that stand still: the drain thread of a watcher, or all of them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bgresults import ResultWatcher
from tests.support.results import new_id
from tests.support.waiting import wait_until

__all__ = ["drain_thread_held", "until_threads_sleep"]

_PATIENCE = 20


@contextlib.contextmanager
def drain_thread_held(watcher: ResultWatcher) -> Iterator[None]:
    """The drain thread stands in a slow callback meanwhile: it takes no command, and reads and sends nothing.

    No message is needed for that: the callback is that of a future that expires.
    """
    leave = threading.Event()
    here = threading.current_thread()
    held: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def hold(_: Future[Any]) -> None:
        # One that expired before it had its callback calls it in our own thread.
        elsewhere = threading.current_thread() is not here
        held.put(elsewhere)
        if elsewhere:
            leave.wait(_PATIENCE)

    try:
        standing = False
        while not standing:
            watcher.watch(new_id(), lifetime=0.01).add_done_callback(hold)
            standing = held.get(timeout=_PATIENCE)
        yield
    finally:
        leave.set()


def until_threads_sleep() -> None:
    """Return once all other threads of this process sleep in the kernel, and none has been awake since the last look.

    This thread sleeps between two looks, so one that wanted to run Python code would have done so.
    """
    before: dict[str, list[str]] = {}

    def asleep() -> bool:
        nonlocal before
        last, before = before, _other_threads()
        return before == last and all(lines[0].split()[1] == "S" for lines in before.values())

    wait_until(asleep, "the other threads to sleep")


def _other_threads() -> dict[str, list[str]]:
    """Thread number → its state, and how often it was given, or gave up, a processor."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        if task.name != str(threading.get_native_id()):
            try:
                lines = (task / "status").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended in the meantime.
            found[task.name] = [line for line in lines if line.startswith(("State", "voluntary", "nonvoluntary"))]
    return found
