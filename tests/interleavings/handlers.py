"""What signal handlers do in the middle of an operation of the same thread."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError

from bgresults import WatcherClosedError, forking
from tests.interleavings.actions import Action, unheard_fork
from tests.interleavings.bench import CANCELLED, CLOSED, VALUE, Run
from tests.support.forks import run_in_child

__all__ = ["HANDLERS", "RAISES", "end_as_child", "fork_while_the_lock_is_held"]

_CHILD_SECONDS = 20


def _raise(run: Run, _: object) -> None:
    raise KeyboardInterrupt


def _close(run: Run, _: object) -> None:
    # The drain thread may need a lock that this very thread holds: then it ends later.
    run.watcher.close(0.05)


def _cancel(run: Run, _: object) -> None:
    for future in list(run.futures):
        future.cancel()


def _watch(run: Run, _: object) -> None:
    try:
        run.watch()
        run.watch(run.new_id())
    except WatcherClosedError:
        assert run.watcher.closed


def _wait(run: Run, _: object) -> None:
    for future in list(run.futures):
        try:
            future.result(0.002)
        except (FutureTimeoutError, CancelledError, WatcherClosedError):
            pass


def _collect(run: Run, _: object) -> None:
    run.futures.clear()
    run.kept.clear()
    gc.collect()


def _child_ends_here(fork: Callable[[], int]) -> Callable[[Run, object], None]:
    """The child does not return from the handler."""

    def handle(run: Run, _: object) -> None:
        run.exit_codes.append(run_in_child(run.check_child, fork=fork))

    return handle


def _child_goes_on(fork: Callable[[], int]) -> Callable[[Run, object], None]:
    """The child returns from the handler, into the operation."""

    def handle(run: Run, _: object) -> None:
        pid = fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_CHILD_SECONDS)
        else:
            run.children.append(pid)

    return handle


def fork_while_the_lock_is_held(run: Run, _: object) -> None:
    """Another thread holds the leaf lock when the child is made, which returns from the handler."""
    inside, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with forking.leaf_lock():
            inside.set()
            let_go.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    # In vain if it is this thread that holds it: it will not be missed in the child then.
    if inside.wait(0.1):
        _child_goes_on(unheard_fork)(run, _)
    if os.getpid() == run.pid:
        let_go.set()
        if not inside.is_set():
            return
        holder.join()


def end_as_child(run: Run, error: BaseException | None) -> None:
    """In a child that went on: check, and end."""
    code = 1
    try:
        if error is not None:
            raise error
        run.check_child()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


#: The one that leaves the operation in the middle.
RAISES = Action("raise", _raise, frozenset({VALUE}))

HANDLERS = [
    RAISES,
    Action("close", _close, frozenset({CLOSED})),
    Action("cancel", _cancel, frozenset({CANCELLED})),
    Action("watch", _watch, frozenset({VALUE})),
    Action("wait", _wait),
    Action("collect", _collect),
    Action("fork", _child_ends_here(os.fork)),
    Action("fork_and_go_on", _child_goes_on(os.fork)),
]
if sys.version_info < (3, 13):
    # See the actions of other threads.
    HANDLERS += [
        Action("unheard_fork", _child_ends_here(unheard_fork)),
        Action("unheard_fork_and_go_on", _child_goes_on(unheard_fork)),
    ]
