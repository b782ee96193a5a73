"""The drain thread's birth and death: it is started once in a session, and leaves nobody waiting when it goes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading

from bgresults.dispatcher import Dispatcher, SessionEnded
from bgresults.drainer import Drainer
from bgresults.errors import BackendUnavailableError, WatcherClosedError
from bgresults.forking import leaf_lock
from bgresults.greenlets import was_killed
from bgresults.safe_logging import log_safely
from bgresults.session import ErrorFactory, Session, State
from bgresults.status.wanted import serve_if_wanted
from bgresults.surroundings import look_around
from bgresults.wakeup import Wakeup

__all__ = ["check_interpreter", "ensure_running"]


def check_interpreter() -> None:
    """See whether there can be a drain thread here at all; starts none.

    Raises:
        RuntimeError: this is a sub-interpreter that allows no daemon threads. Before Python 3.12 that shows only when
            one is started.
    """
    try:
        threading.Thread(name="bgresults", daemon=True)
    except RuntimeError as error:
        raise RuntimeError(
            f"bgresults needs a daemon thread, and this interpreter allows none ({error}): "
            "use it in the main interpreter, or in a process of its own"
        ) from error


def ensure_running(session: Session) -> None:
    """Start the session's drain thread unless it runs already. Any thread.

    Raises:
        BackendUnavailableError: the thread cannot be started, for want of threads or descriptors, or because the
            interpreter is exiting.
        RuntimeWarning: as :func:`look_around`.
    """
    if session.thread is not None:
        return
    look_around()
    with session.starting:
        # A signal handler may watch() in the middle of the start in its own thread: that start will go on.
        if session.started_or_ended() or session.start_token is not None:
            return
        error = _start(session)
        # Closed, or forked, in the middle of the start: the caller looks for that next.
        if error is None or session.ended is not None:
            return
        # Whoever has relied on this start, and what was appended for the thread: nobody else may come for years.
        orphans = session.take_orphans()
    text = f"the drain thread cannot be started: {error}"
    with contextlib.suppress(SessionEnded):
        Dispatcher(session).fail(orphans, lambda: BackendUnavailableError(text))
    raise BackendUnavailableError(text) from error


def _start(session: Session) -> Exception | None:
    """Start it, or return why that is not possible. The lock is held."""
    token = session.start_token = object()
    wakeup: Wakeup | None = None
    try:
        wakeup = session.wakeup = Wakeup()
        thread = threading.Thread(
            target=_run, args=(session, token), name=f"bgresults-{session.settings.name}", daemon=True
        )
        thread.start()
        session.thread = thread
    except BaseException as error:
        # A signal handler may have raised when the thread ran already: without its token it leaves at once.
        session.start_token = None
        session.thread = session.wakeup = None
        if wakeup is not None:
            wakeup.close()
        if isinstance(error, (RuntimeError, OSError)):
            return error
        raise
    return None


def _run(session: Session, token: object) -> None:
    """The thread's body."""
    with session.starting:
        if session.start_token is not token:
            return
    session.thread_ident = threading.get_ident()
    dispatcher = Dispatcher(session, leaf_lock())
    why: ErrorFactory | None = None
    try:
        for observer in session.observers:
            observer.started(session)
        serve_if_wanted()
        Drainer(session, dispatcher).serve()
    except SessionEnded:
        pass
    except BaseException as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting for a dead thread
        if session.pid == os.getpid():
            why = _killed(session) if was_killed(error) else _crashed(session, error)
    if session.pid == os.getpid():
        _finish(session, dispatcher, why)
    else:
        # A fork copies greenlets, but not the list of threads, from which this one is about to be deleted. Whoever is
        # not in that list, and asks who it is, is put into it.
        threading.current_thread()


def _killed(session: Session) -> ErrorFactory:
    """It is a greenlet, and somebody ended it: the interpreter as it exits, or whoever kills all that there are."""
    text = f"the drain thread of watcher {session.settings.name!r} is a greenlet, and was killed"
    return lambda: BackendUnavailableError(text)


def _crashed(session: Session, error: BaseException) -> ErrorFactory:
    name = session.settings.name
    text = f"the drain thread of watcher {name!r} died of {type(error).__name__}: {error}"
    log_safely(
        session.logger,
        logging.CRITICAL,
        "%s; this is a bug in bgresults, please report it",
        text,
        error=error,
        event="thread_died",
        watcher=name,
    )
    return lambda: BackendUnavailableError(text)


def _finish(session: Session, dispatcher: Dispatcher, why: ErrorFactory | None) -> None:
    """Leave nothing behind: no connection, no descriptor, nobody waiting."""
    session.state = State.CLOSING
    # First of all the door: a future that is registered from here on is taken back by its own caller.
    session.end(_dropped if why is None else why)
    # Before the farewell of the connection, which may take its time.
    dispatcher.tell_endings()
    if session.consumer is not None:
        session.consumer.stop()
    with contextlib.suppress(SessionEnded):
        dispatcher.fail_all(session.ended or _dropped)
    if session.pid != os.getpid():
        return
    session.finish()
    session.state = State.CLOSED if why is None else State.FAILED
    session.ready.set()
    session.thread_ident = None
    if session.wakeup is not None:
        session.wakeup.close()


def _dropped() -> WatcherClosedError:
    return WatcherClosedError("the watcher was dropped")
