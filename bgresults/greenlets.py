"""Whether the threads of this process are greenlets, of gevent or of eventlet, and whether they came in time.

Nothing here imports either. This library looks threads, locks, sockets and ``select`` up where it uses them. So in a
process that was patched before it was imported, the drain thread is a greenlet, all waiting is cooperative, and nothing
else has to be known. What is known here is how that goes wrong.
"""

from __future__ import annotations

import _thread
import socket
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType
from typing import Any, NamedTuple

__all__ = ["complaint", "was_killed"]

# As this library found them. A thread of a patched process is started by a function written in Python.
_FOUND_NATIVE = {
    "threads": isinstance(_thread.start_new_thread, BuiltinFunctionType),
    "sockets": socket.socket.__module__ == "socket",
}


class _Patcher(NamedTuple):
    """A library that replaces parts of the standard library."""

    #: What a program has to call.
    cure: str
    #: Whether it has replaced the module of that name.
    has_patched: Callable[[str], bool]
    #: How it calls what we call threads.
    threads: str


def _patchers() -> Iterator[_Patcher]:
    modules: dict[str, Any] = sys.modules
    if (monkey := modules.get("gevent.monkey")) is not None:
        yield _Patcher("gevent.monkey.patch_all()", monkey.is_module_patched, "threading")
    if (patcher := modules.get("eventlet.patcher")) is not None:
        yield _Patcher("eventlet.monkey_patch()", patcher.is_monkey_patched, "thread")


def complaint() -> str | None:
    """What is wrong with the patching of this process, and the cure; None if nothing is.

    Without gevent and eventlet this costs a few look-ups.
    """
    for cure, has_patched, threads in _patchers():
        patched = {"threads": has_patched(threads), "sockets": has_patched("socket"), "select": has_patched("select")}
        if not patched["threads"]:
            continue
        missing = [name for name, done in patched.items() if not done]
        if missing:
            return (
                f"threads are greenlets here, but {' and '.join(missing)} were not patched: waiting for results would "
                f"block the whole process instead of one greenlet. Call {cure} without leaving anything out"
            )
        if any(_FOUND_NATIVE.values()):
            return (
                f"bgresults was imported before {cure} was called: locks that were made until then, here and in the "
                "libraries below, block the whole process instead of one greenlet. Patch first, in the first line of "
                "the program; with gunicorn --preload, in the first line of gunicorn.conf.py"
            )
    if _in_native_thread():
        return (
            "a watcher was first used in a native thread of gevent's pool: its own greenlet lives there, and stands "
            "still when that thread does. Use it in a greenlet of the main thread first, watcher.wait_ready() will do"
        )
    return None


def _in_native_thread() -> bool:
    """Whether a thread that is started now would be a greenlet of a native thread other than the main one."""
    gevent: Any = sys.modules.get("gevent")
    monkey: Any = sys.modules.get("gevent.monkey")
    if gevent is None or monkey is None or not monkey.is_module_patched("threading"):
        return False
    return not gevent.get_hub().main_hub


def was_killed(error: BaseException) -> bool:
    """Whether ``error`` is what ends a greenlet from outside: its killer, or the exit of the interpreter."""
    greenlet: Any = sys.modules.get("greenlet")
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)
