"""Which threads wait, for which ids, and where they were called.

The futures know nothing of it, so that waiting costs nothing: it is read off the stacks, at the moment that somebody
asks. Coroutines, and greenlets that are not running, are not among them; nor is anything where threads cannot be looked
at, as in a process that C code has forked.
"""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import Any

from bgresults.forking import knows_its_threads
from bgresults.futures import ResultFuture
from bgresults.lazy_future import LazyFuture
from bgresults.updates import StateStream

__all__ = ["waiting_threads"]


def _one(names: Mapping[str, Any]) -> Iterable[Any]:
    future = names.get("self")
    # That of a group waits for its members.
    return [future] if isinstance(future, ResultFuture) else getattr(getattr(future, "_owner", None), "_members", ())


def _of_stream(names: Mapping[str, Any]) -> Iterable[Any]:
    return [getattr(names.get("self"), "_future", None)]


# The functions in which threads wait → the futures, by the names of their variables.
_WAITS: dict[CodeType, Callable[[Mapping[str, Any]], Iterable[Any]]] = {
    LazyFuture._wait.__code__: _one,
    StateStream.next_within.__code__: _of_stream,
    # Two sets, of a version of Python that may have called them otherwise.
    concurrent.futures.wait.__code__: lambda names: names.get("fs", ()),
    concurrent.futures.as_completed.__code__: lambda names: names.get("pending", ()),
}
# The waiting itself is of no interest; who called it is.
_BETWEEN = ("bgresults.", "celery.", "concurrent.futures.")


def waiting_threads() -> dict[str, list[str]]:
    """Task id → for each thread that waits for it: its name, and the place that called."""
    if not knows_its_threads() or not getattr(sys, "_is_gil_enabled", lambda: True)():
        # Without the interpreter's lock, a thread goes on while its variables are read.
        return {}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: dict[str, list[str]] = {}
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and frame.f_code not in _WAITS:
            frame = frame.f_back
        if frame is None:
            continue
        who = f"{names.get(ident, ident)} in {_caller(frame)}"
        for task_id in _ids(_WAITS[frame.f_code](frame.f_locals)):
            found.setdefault(task_id, []).append(who)
    return found


def _ids(futures: Iterable[Any]) -> list[str]:
    try:
        # A set may be changed by the thread that it is of: copied in one step.
        return [future.task_id for future in list(futures) if isinstance(future, ResultFuture) and not future.done()]
    except (RuntimeError, TypeError):
        return []


def _caller(frame: FrameType) -> str:
    at: FrameType | None = frame
    while at is not None and str(at.f_globals.get("__name__", "")).startswith(_BETWEEN):
        at = at.f_back
    if at is None:
        return "?"
    code = at.f_code
    return f"{code.co_name}(), {os.path.basename(code.co_filename)}:{at.f_lineno}"
