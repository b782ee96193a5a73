""":class:`FutureMaker`: the part of a watcher that makes futures, registers them, and starts the thread they need."""

from __future__ import annotations

from bgresults.at_hand import count_at_hand, settle_at_hand
from bgresults.drain_thread import check_interpreter, ensure_running
from bgresults.errors import BackendUnavailableError, ForkedError, WatcherClosedError
from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.registration import register, take_back
from bgresults.session import Command, ErrorFactory, Session, SessionSettings
from bgresults.session_holder import SessionHolder
from bgresults.waits import tell_at_once

__all__ = ["FutureMaker"]


class FutureMaker(SessionHolder):
    """Watches ids that were checked. Any thread, and a forked child."""

    #: What watching makes.
    _future_class: type[ResultFuture] = ResultFuture

    def __init__(self, settings: SessionSettings, max_pending: int) -> None:
        check_interpreter()
        self._max_pending = max_pending
        super().__init__(settings)

    def _watch(self, keys: list[str], deadline: float | None, on_update: UpdateCallback | None) -> list[ResultFuture]:
        return self._watch_as(self._future_class, keys, deadline, on_update)

    def _watch_as(
        self,
        future_class: type[ResultFuture],
        keys: list[str],
        deadline: float | None,
        on_update: UpdateCallback | None,
    ) -> list[ResultFuture]:
        """Watch ids; ``future_class`` is what is made of them."""
        if on_update is not None and not callable(on_update):
            raise TypeError(f"on_update must be callable or None, not {type(on_update).__name__}")
        while True:
            session = self._session_here()
            futures = [future_class(key, self, on_update, session.generation) for key in keys]
            # What is told of an update is told on the drain thread.
            waiting = settle_at_hand(session, futures) if on_update is None else futures
            if not waiting:
                count_at_hand(session, futures)
                return futures
            try:
                refusal = register(session, waiting, deadline, self._max_pending, pinned=on_update is not None)
                if refusal is None:
                    refusal = self._start(session) if session.thread is None else None
                    session.wake_for([future.task_id for future in waiting], deadline)
                if refusal is None or self._refused(session, waiting, refusal):
                    count_at_hand(session, futures, waiting)
                    # In here: with it this call has handed them out, and what is raised later is the caller's affair.
                    return futures
            except BaseException:
                # A signal handler raised: the caller gets no futures, so nobody may go on waiting for them.
                take_back(session, waiting)
                raise

    def _refused(self, session: Session, waiting: list[ResultFuture], refusal: ErrorFactory) -> bool:
        """End what the session does not take; returns False if another session is to be asked.

        Raises:
            WatcherClosedError: the watcher is closed.
        """
        refused = take_back(session, waiting)
        error = refusal()
        if isinstance(error, ForkedError):
            # This very call was forked, or the process was: once more, in the session of the child.
            return False
        if isinstance(error, WatcherClosedError):
            raise error
        for future in waiting:
            future._settle(None, refusal())
        # The others have been told of as what the drain thread made of them.
        tell_at_once(session, refused, "refused")
        if session.ended is not None:
            # The thread died. This call says so; the next one finds a session that works.
            self._replace(session)
        elif session.thread is not None:
            session.tell(Command.PROBE)
        return True

    def _start(self, session: Session) -> ErrorFactory | None:
        try:
            ensure_running(session)
        except BackendUnavailableError as error:
            text = str(error)
            return lambda: BackendUnavailableError(text)
        return session.current_refusal()
