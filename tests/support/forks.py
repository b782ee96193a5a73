"""Forked children that a test can judge by their exit code."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from bgresults import forking
from tests.support.gates import until_threads_sleep

__all__ = ["c_fork", "c_fork_with_child_hook", "run_in_child"]

_CHILD_SECONDS = 20


def c_fork() -> int:
    """A fork that no Python hook hears of, as uWSGI makes it.

    All other threads sleep at that moment: no hook means that the child has the interpreter's own lock as it was, and
    if a thread waits for it just then, the child hangs in CPython, without any code of this library in it.
    """
    until_threads_sleep()
    pid: int = ctypes.PyDLL(None).fork()
    return pid


def c_fork_with_child_hook() -> int:
    """What uWSGI makes with ``py-call-osafterfork``: the child's hooks run, ``before`` never did."""
    pid = c_fork()
    if pid == 0:
        if sys.version_info < (3, 13):
            ctypes.pythonapi.PyOS_AfterFork_Child()
        else:
            # There it unlocks what PyOS_BeforeFork() locked, and aborts the process if that did not come first: run our
            # own hook alone.
            forking._after_in_child()
    return pid


def run_in_child(
    function: Callable[[], object], *, fork: Callable[[], int] = os.fork, seconds: int = _CHILD_SECONDS
) -> int:
    """Fork, run ``function`` in the child, for ``seconds`` at most, and return the child's exit code.

    0: it returned. 1: it raised; the traceback is on stderr. Negative: a signal ended it;
    -SIGALRM or -SIGKILL means that it hung.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = fork()
    if pid == 0:
        code = 1
        try:
            # The default action ends the child even if no Python code can run in it any more.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            # Not dump_traceback_later(): it would wait for the watchdog thread of the parent's.
            faulthandler.register(signal.SIGALRM, file=sys.__stderr__ or 2, chain=True)
            function()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    return _exit_code(pid, seconds)


def _exit_code(pid: int, seconds: int) -> int:
    """Wait for a child; kill it if it hangs in the fork itself, where its own alarm is not set yet."""
    deadline = time.monotonic() + seconds + 5
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGKILL
        time.sleep(0.002)
