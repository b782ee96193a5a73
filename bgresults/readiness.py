"""Waiting for what only the drain thread can bring about: a connection, a reply queue.

The one place where a caller of a watcher waits without a future.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bgresults.drain_thread import ensure_running
from bgresults.errors import BackendUnavailableError, WatcherError, WouldDeadlockError
from bgresults.latch import Latch
from bgresults.session import Command, Session, State

__all__ = ["catch_up", "declare_queues", "reply_queue", "wait_until_ready"]


# Seconds.
_LOOK_EVERY = 0.05


def wait_until_ready(session: Session, timeout: float | None, what: str = "wait_ready()") -> bool:
    """Start the thread if need be and wait until it is connected; False if ``timeout`` seconds were not enough.

    Raises:
        BackendUnavailableError: the backend refuses for good, or was given up on.
        WatcherClosedError: the watcher is closed.
        WouldDeadlockError: called on the drain thread while not connected.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if session.ended is None:
        ensure_running(session)
        if session.state is State.FAILED:
            session.tell(Command.PROBE)
    while True:
        if session.ended is not None:
            raise session.ended()
        if session.state is State.DRAINING:
            return True
        if session.state is State.FAILED and session.refusal is not None:
            raise session.refusal()
        if session.on_drain_thread():
            raise WouldDeadlockError(f"{what} in a callback: only this very thread can connect")
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            return False
        session.ready.wait(remaining)


def reply_queue(session: Session, timeout: float) -> str:
    """The name of the reply queue; waits until it is there for the first time.

    Raises:
        BackendUnavailableError: it is not there after ``timeout`` seconds, or never will be.
        As :func:`wait_until_ready`.
    """
    if session.reply_to is None and not wait_until_ready(session, timeout, "reply_to"):
        raise _too_late(session, "the reply queue was not declared", timeout)
    if session.ended is not None:
        raise session.ended()
    assert session.reply_to is not None
    return session.reply_to


def declare_queues(session: Session, task_ids: Sequence[str], timeout: float) -> None:
    """Have the reply queues of these tasks there.

    Raises:
        NotWatchableError: the broker does not allow one of them.
        As :func:`reply_queue`.
    """
    deadline = time.monotonic() + timeout
    what = "the reply queues of the tasks were not declared"
    if not wait_until_ready(session, timeout, "declare_for()"):
        raise _too_late(session, what, timeout)
    if session.on_drain_thread():
        raise WouldDeadlockError("declare_for() in a callback: only this very thread can declare")
    answers = _Answers(len(task_ids))
    session.tell(Command.DECLARE, (task_ids, answers))
    if not answers.wait(session, deadline):
        raise _too_late(session, what, timeout)
    for why in answers.given:
        if why is not None:
            raise why


def catch_up(session: Session, timeout: float) -> bool:
    """Have everything passed on that the backend holds ready by now; False if ``timeout`` seconds were not enough.

    Raises:
        As :func:`wait_until_ready`.
    """
    deadline = time.monotonic() + timeout
    if not wait_until_ready(session, timeout, "catching up"):
        return False
    if session.on_drain_thread():
        raise WouldDeadlockError("catching up in a callback: only this very thread can read")
    answers = _Answers(1)
    session.tell(Command.CATCH_UP, answers)
    return answers.wait(session, deadline)


class _Answers:
    """What the drain thread calls, once for each question."""

    def __init__(self, asked: int) -> None:
        self.given: list[WatcherError | None] = []
        self._asked = asked
        self._done = Latch()

    def __call__(self, why: WatcherError | None) -> None:
        self.given.append(why)
        if len(self.given) == self._asked:
            self._done.set()

    def wait(self, session: Session, deadline: float) -> bool:
        """Wait for all of them, until ``deadline``; raises if the session ends meanwhile."""
        while len(self.given) < self._asked and (remaining := deadline - time.monotonic()) > 0:
            # Whoever closes the watcher does not know of this wait.
            self._done.wait(min(remaining, _LOOK_EVERY))
            if session.ended is not None:
                raise session.ended()
        return len(self.given) >= self._asked


def _too_late(session: Session, what: str, timeout: float) -> BackendUnavailableError:
    return BackendUnavailableError(f"{session.settings.address}: {what} within {timeout:g} s")
