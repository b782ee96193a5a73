"""What has to be true of this library before, after and across a ``fork()``.

The package registers one set of hooks with :func:`os.register_at_fork`, here, once. Everything that must not survive a
fork hangs on the *process generation*, a number that changes with the process: whoever remembers an older number knows
in O(1) that it was inherited, however many of it there are.

The *leaf lock* is the one lock that threads of a process share across watchers. It is held for a few dict operations
or attribute stores only: no I/O, no callback, no log line and no other lock under it. The ``before`` hook takes it, so
that a child never sees one of those few stores without the others.

It is re-entrant for two reasons: a signal handler may fork while its own thread holds it, and the garbage
collector may run a destructor inside a locked section.

The *import lock* is held while modules of this library are imported that are not imported with it, which may happen in
any thread, at the first use. A child that was forked in the middle of an import could never import that module: the
interpreter's lock of it is held by a thread that did not come along. So the ``before`` hook waits for its end. It is
also what a thread of this library holds while it is inside of another library that has a lock and forgets it in a fork.

A fork made by C code (uWSGI without its fork hooks) runs no Python hook at all. Every public entry therefore asks
:func:`generation`, which compares process ids, and repeats there what the ``after_in_child`` hook would have done.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["ForkAware", "generation", "here", "import_lock", "knows_its_threads", "leaf_lock", "register", "registered"]

# Seconds that a fork waits for an import. One that takes longer is stuck, and a fork must not be.
_LONGEST_IMPORT = 10.0


class ForkAware(Protocol):
    """Something that has to start anew in a forked child."""

    def _after_fork_in_child(self) -> None: ...


class _Process:
    """What belongs to exactly one process; replaced as a whole, so that no reader sees half of a new one."""

    __slots__ = ("generation", "hooks_ran", "imports", "lock", "pid")

    def __init__(self, pid: int, generation: int) -> None:
        self.pid = pid
        self.generation = generation
        # Whether it was not forked, or Python was told so.
        self.hooks_ran = generation == 0
        self.lock = threading.RLock()
        self.imports = threading.RLock()


_process = _Process(os.getpid(), 0)
_live: weakref.WeakSet[ForkAware] = weakref.WeakSet()

# One lock per process id for the reset after a C-level fork. A lock that was made under this very pid cannot have been
# inherited in a locked state, and ``dict.setdefault`` is atomic, so two threads of the child agree on it.
_reset_locks: dict[int, threading.RLock] = {}

# What `before` locked. The hooks run in one thread, but `_process` may be replaced while they do.
_locked_before: list[_Process] = []


def register(item: ForkAware) -> None:
    """Have ``item._after_fork_in_child()`` called in every forked child, for as long as ``item`` lives. Any thread."""
    with leaf_lock():
        _live.add(item)


def registered() -> list[ForkAware]:
    """Return what was registered and is alive. Any thread."""
    # A weak set cannot be read while another thread adds to it.
    with leaf_lock():
        return list(_live)


def here() -> _Process:
    """Return the generation and the leaf lock of the current process, with one look for both.

    As :func:`generation`. That look is a system call: where each of thousands of results would take one, their memory
    is out of the processor's reach after every one of them.
    """
    process = _process
    if process.pid != os.getpid():
        _reset()
        process = _process
    return process


def generation() -> int:
    """Return the number of the current process generation; resets this library first if a fork went unnoticed.

    Safe from any thread. Costs one ``getpid`` in the common case.
    """
    process = _process
    if process.pid != os.getpid():
        _reset()
        process = _process
    return process.generation


def leaf_lock() -> threading.RLock:
    """Return the leaf lock of the current process. See the module's text for what may be done under it."""
    process = _process
    if process.pid != os.getpid():
        _reset()
        process = _process
    return process.lock


def import_lock() -> threading.RLock:
    """Return the import lock of the current process. Nothing is done under it that another thread may hold up."""
    generation()
    return _process.imports


def knows_its_threads() -> bool:
    """Whether ``sys._current_frames()`` may be called here.

    After a fork that Python was not told of, its list of threads has those of the parent, whose stacks are gone: to
    look at one ends the process.
    """
    generation()
    return _process.hooks_ran


def _reset() -> None:
    """Make this process's own state, once per process, and tell everything that is alive.

    Takes no inherited lock: whoever held one did not come along.
    """
    global _process
    pid = os.getpid()
    with _reset_locks.setdefault(pid, threading.RLock()):
        if _process.pid == pid:
            return
        _process = _Process(pid, _process.generation + 1)
        for inherited in [key for key in _reset_locks if key != pid]:
            _reset_locks.pop(inherited, None)
        for item in registered():
            item._after_fork_in_child()


def _before() -> None:
    # After a fork that went unnoticed so far, the lock may be held by a thread that did not come along.
    generation()
    process = _process
    try:
        # First: an import may take the leaf lock.
        process.imports.acquire(timeout=_LONGEST_IMPORT)
        process.lock.acquire()
    finally:
        # Also if a signal handler raised right after a lock was taken.
        _locked_before.append(process)


def _after_in_parent() -> None:
    # Whatever is touched right after a fork is copied first, page by page: as few objects as can be.
    process = _locked_before.pop()
    # Either lock is possibly not taken: a signal handler raised before, or an import took too long.
    try:
        process.lock.release()
    except RuntimeError:
        pass
    try:
        process.imports.release()
    except RuntimeError:
        pass


def _after_in_child() -> None:
    # uWSGI with `py-call-osafterfork` runs this hook without `before`: there may be nothing to forget.
    _locked_before.clear()
    _reset()
    _process.hooks_ran = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
