"""Registering futures in a session, and taking them back when the session turns out to refuse them.

The order is what makes it safe without a lock: *insert first, look second*. A session that ends or fails at the same
moment either finds the futures in its registry, or is found out by the look. Only near ``max_pending`` do callers wait
for each other.
"""

from __future__ import annotations

import os
from collections import deque

from bgresults.errors import TooManyPendingError
from bgresults.forking import generation, leaf_lock
from bgresults.futures import ResultFuture
from bgresults.pending import FutureRef, reference
from bgresults.session import Command, ErrorFactory, Session
from bgresults.waits import waits_for

__all__ = ["register", "take_back"]

# So many threads may ask for as much as this call at this very moment, and it would not matter.
_CROWD = 100


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
    # Whoever observes is told of every wait; nobody does unless asked to.
    refs = (
        waits_for(futures, dropped, deadline, session)
        if session.observers
        else [reference(future, dropped, deadline) for future in futures]
    )
    pending = session.pending
    try:
        if pinned:
            # First: the thread may end one as soon as it is registered, and lets go of it then.
            for future in futures:
                pending.pin(future)
        if len(pending) + _CROWD * len(refs) > max_pending:
            _admit(session, refs, max_pending)
        else:
            for ref in refs:
                pending.add(ref)
            # Added first, asked second: somebody who is being admitted has counted these, or is seen here.
            if session.admitting:
                with leaf_lock():
                    _check(session, len(pending), len(refs), max_pending)
        session.commands.append((Command.WATCH, refs))
        if session.pid != os.getpid():
            # A signal handler has forked in C. The child's hook, if you will: this session is refused from here on.
            generation()
        return session.current_refusal()
    except BaseException:  # KeyboardInterrupt too; raised again
        # A signal handler may raise between any two steps; whoever called gets no future then.
        take_back(session, futures, refs)
        raise


def _admit(session: Session, refs: list[FutureRef], max_pending: int) -> None:
    """Add them where the limit is near: one caller after the other, or two would refuse each other the last slot.

    Under the leaf lock, which is longer than usual where they are many, and survives a fork by whoever waits for it.
    """
    pending = session.pending
    if len(pending) + len(refs) > max_pending:
        session.purge()
    with leaf_lock():
        try:
            session.admitting = True
            _check(session, len(pending) + len(refs), len(refs), max_pending)
            for ref in refs:
                pending.add(ref)
            # A signal handler of this thread may have watched meanwhile: it did not wait for this lock.
            _check(session, len(pending), len(refs), max_pending)
        finally:
            session.admitting = False


def _check(session: Session, pending: int, asked_for: int, max_pending: int) -> None:
    # A session that refuses everything has a better reason, for which the caller looks next.
    if pending > max_pending and session.current_refusal() is None:
        raise TooManyPendingError(
            f"{max_pending} futures may be pending at a time (max_pending); {asked_for} more were asked for"
        )


def take_back(session: Session, futures: list[ResultFuture], refs: list[FutureRef] | None = None) -> list[ResultFuture]:
    """Undo a registration; returns the futures that were taken out. Those that the drain thread has are left to it.

    The thread may have asked for the ids already, so it is told which ones to let go of. If it is not certain that it
    has heard of them before, give the references that it would have heard of: they are gone from the list then.
    """
    if session.pid != os.getpid():
        # Forked in the middle of the call: this registry is the parent's.
        return []
    taken: deque[FutureRef] = deque()
    try:
        return _take_back(session, futures, refs, taken)
    except BaseException:
        # A signal handler raised: once more. What was told already is not counted twice, since it leaves `taken`.
        _take_back(session, futures, refs, taken)
        raise


def _take_back(
    session: Session, futures: list[ResultFuture], refs: list[FutureRef] | None, taken: deque[FutureRef]
) -> list[ResultFuture]:
    undone = [future for future in futures if session.pending.forget(future, into=taken)]
    for future in futures:
        # Also if it was not registered yet.
        session.pending.unpin(future)
    if taken:
        session.tell(Command.UNDO, (refs or [], taken))
    if session.over:
        session.finish()
    return undone
