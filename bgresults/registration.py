"""Registering futures in a session, and taking them back when the session turns out to refuse them.

The order is what makes it safe without a lock: *insert first, look second*. A session that ends, fails or fills up at
the same moment either finds the futures in its registry, or is found out by the look.
"""

from __future__ import annotations

import os

from bgresults.errors import TooManyPendingError
from bgresults.futures import ResultFuture
from bgresults.pending import FutureRef, reference
from bgresults.session import Command, ErrorFactory, Session

__all__ = ["register", "take_back"]


def register(
    session: Session, futures: list[ResultFuture], deadline: float | None, max_pending: int, *, pinned: bool
) -> ErrorFactory | None:
    """Register new futures, all or none. Any thread; no I/O.

    Args:
        session: where they will be resolved.
        futures: made a moment ago, and not handed out yet.
        deadline: when they expire, on the clock of ``time.monotonic``; None for never.
        max_pending: how many may be pending in the session.
        pinned: whether the session keeps them alive.

    Returns:
        None; or why the session does not take any, in which case they are still registered.

    Raises:
        TooManyPendingError: there is no room; none is registered.
    """
    dropped = session.dropped
    refs = [reference(future, dropped, deadline) for future in futures]
    pending = session.pending
    try:
        for ref in refs:
            pending.add(ref)
        if pinned:
            for future in futures:
                pending.pin(future)
        session.commands.append((Command.WATCH, refs))
        refusal = session.current_refusal()
        if refusal is None and len(pending) > max_pending:
            session.purge()
            if len(pending) > max_pending:
                raise TooManyPendingError(
                    f"{max_pending} futures may be pending at a time (max_pending); {len(futures)} more were asked for"
                )
    except BaseException:  # KeyboardInterrupt too; raised again
        # A signal handler may raise between any two steps; whoever called gets no future then.
        take_back(session, futures, refs)
        raise
    return refusal


def take_back(session: Session, futures: list[ResultFuture], refs: list[FutureRef] | None = None) -> None:
    """Undo a registration. Futures that the drain thread has taken meanwhile are left to it.

    The thread may have asked for the ids already, so it is told which ones to let go of. If it is not certain that it
    has heard of them before, give the references that it would have heard of: they are gone from the list then.
    """
    if session.pid != os.getpid():
        # Forked in the middle of the call: this registry is the parent's.
        return
    undone = [future.task_id for future in futures if session.pending.forget(future)]
    if undone:
        session.tell(Command.UNDO, (refs or [], undone))
