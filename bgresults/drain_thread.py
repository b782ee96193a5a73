"""The drain thread's birth and death: it is started once in a session, and leaves nobody waiting when it goes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading

from bgresults.dispatcher import Dispatcher, SessionEnded
from bgresults.drainer import Drainer
from bgresults.errors import BackendUnavailableError, WatcherClosedError
from bgresults.safe_logging import log_safely
from bgresults.session import ErrorFactory, Session, State
from bgresults.wakeup import Wakeup

__all__ = ["ensure_running"]


def ensure_running(session: Session) -> None:
    """Start the session's drain thread unless it runs already. Any thread.

    Raises:
        BackendUnavailableError: the thread cannot be started, for want of threads or descriptors, or because the
            interpreter is exiting.
    """
    if session.thread is not None:
        return
    with session.starting:
        # A signal handler may watch() in the middle of the start in its own thread: that start will go on.
        if session.started_or_ended() or session.start_token is not None:
            return
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
                if session.ended is not None:
                    # Closed, or forked, in the middle of the start: the caller looks for that next.
                    return
                raise BackendUnavailableError(f"the drain thread cannot be started: {error}") from error
            raise


def _run(session: Session, token: object) -> None:
    """The thread's body."""
    with session.starting:
        if session.start_token is not token:
            return
    session.thread_ident = threading.get_ident()
    dispatcher = Dispatcher(session)
    why: ErrorFactory | None = None
    try:
        Drainer(session, dispatcher).serve()
    except SessionEnded:
        pass
    except BaseException as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting for a dead thread
        if session.pid == os.getpid():
            why = _crashed(session, error)
    if session.pid == os.getpid():
        _finish(session, dispatcher, why)


def _crashed(session: Session, error: BaseException) -> ErrorFactory:
    name = session.settings.name
    text = f"the drain thread of watcher {name!r} died of {type(error).__name__}: {error}"
    log_safely(session.logger, logging.CRITICAL, "%s; this is a bug in bgresults, please report it", text, error=error)
    return lambda: BackendUnavailableError(text)


def _finish(session: Session, dispatcher: Dispatcher, why: ErrorFactory | None) -> None:
    """Leave nothing behind: no connection, no descriptor, nobody waiting."""
    session.state = State.CLOSING
    # First of all the door: a future that is registered from here on is taken back by its own caller.
    session.end(_dropped if why is None else why)
    if session.consumer is not None:
        session.consumer.stop()
    with contextlib.suppress(SessionEnded):
        dispatcher.fail_all(session.ended or _dropped)
    if session.pid != os.getpid():
        return
    session.state = State.CLOSED if why is None else State.FAILED
    session.ready.set()
    session.thread_ident = None
    if session.wakeup is not None:
        session.wakeup.close()


def _dropped() -> WatcherClosedError:
    return WatcherClosedError("the watcher was dropped")
