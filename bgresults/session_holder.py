""":class:`SessionHolder`: the part of a watcher that knows which session is the right one, and owns its futures."""

from __future__ import annotations

import os

from bgresults import forking
from bgresults.errors import WatcherClosedError
from bgresults.futures import ResultFuture
from bgresults.lazy_future import LazyFuture
from bgresults.session import Command, Session, SessionSettings, State
from bgresults.waits import Observer, everywhere

__all__ = ["SessionHolder", "closed_error"]


class SessionHolder:
    """Holds one session for each process it finds itself in: a new one after a fork, and after its thread died."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._observers: tuple[Observer, ...] = ()
        self._session = self._new_session()
        forking.register(self)
        # Second: whoever begins to observe everything in between finds this one among those that are registered.
        with forking.leaf_lock():
            new = [observer for observer in everywhere() if observer not in self._observers]
            self._observers = self._session.observers = (*self._observers, *new)

    def _session_here(self) -> Session:
        """The session of this process. A C-level fork runs no hook, so every entry looks."""
        session = self._session
        if session.pid != os.getpid():
            forking.generation()
            # Another thread may be at it at this moment, and may not have come to this watcher yet.
            self._after_fork_in_child()
            session = self._session
        return session

    def _replace(self, session: Session, *, closed: bool = False) -> None:
        """Put a new session in the place of one that is over; whoever comes second changes nothing."""
        fresh = self._new_session()
        if closed:
            fresh.ended = closed_error
            fresh.state = State.CLOSED
        with forking.leaf_lock():
            if self._session is session:
                # Somebody may have begun to observe this watcher since it was made.
                fresh.observers = self._observers
                self._session = fresh

    def _new_session(self) -> Session:
        session = Session(self._settings, self)
        session.observers = self._observers
        return session

    def _after_fork_in_child(self) -> None:
        inherited = self._session
        if inherited.pid == os.getpid():
            return
        self._replace(inherited, closed=inherited.ended is closed_error)
        inherited.abandon()

    # -- FutureOwner -------------------------------------------------------------------------------------------------

    def _forget(self, future: ResultFuture) -> bool:
        return self._session.pending.forget(future, release=True)

    def _released(self, future: LazyFuture) -> None:
        # Somebody may have pinned it between its leaving and its end.
        self._session.pending.unpin(future)
        self._session.wake()

    def _pin(self, future: LazyFuture) -> None:
        self._session.pending.pin(future)

    def _on_drain_thread(self) -> bool:
        return self._session.on_drain_thread()

    def _abandoned(self, future: ResultFuture) -> None:
        """A state stream was dropped. Possibly in the garbage collector: no lock, no cancelling here."""
        session = self._session
        if session.pid == os.getpid():
            session.tell(Command.ABANDONED, future)


def closed_error() -> WatcherClosedError:
    """What futures of a closed watcher end with."""
    return WatcherClosedError("the watcher was closed")
