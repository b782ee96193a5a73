""":class:`Takeover`: for a while, all watchers of this process have a memory in the place of their server.

A watcher makes its consumer when its thread starts, and its thread belongs to a session. So whoever decides what the
consumer is, and gives every watcher a session that has not begun, has them all: those that were made when a module was
imported, those of Django's and Flask's settings, and those of Celery applications. What they were made with is checked
as ever. Afterwards they go on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from bgresults import configuration
from bgresults.consumers import BaseResultConsumer, consumer_for
from bgresults.errors import WatcherClosedError, WatcherError
from bgresults.forking import leaf_lock, registered
from bgresults.readiness import catch_up
from bgresults.session import Session, State
from bgresults.session_holder import SessionHolder, closed_error
from bgresults.testing.backoff import no_backoff
from bgresults.testing.memory import Memory
from bgresults.testing.memory_consumer import MemoryConsumer

__all__ = ["Takeover"]

# Seconds that a watcher is given to handle what it was told. Only one that is held up, by a callback, takes any.
_PATIENCE = 5.0
_LOOK_EVERY = 0.002


class Takeover:
    """Between :meth:`start` and :meth:`stop`. One at a time in a process."""

    _running: Takeover | None = None

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._held: list[tuple[SessionHolder, Session]] = []
        self._undo = contextlib.ExitStack()

    def start(self) -> None:
        """Take all watchers over, those too that are made later.

        Raises:
            RuntimeError: somebody else has them.
        """
        if Takeover._running is not None:
            raise RuntimeError("the watchers of this process have a memory already; there is one FakeResults at a time")
        Takeover._running = self
        self._undo.callback(setattr, Takeover, "_running", None)
        self._undo.enter_context(no_backoff())
        self._undo.callback(self._give_back)
        self._undo.enter_context(mock.patch.object(configuration, "consumer_for", self._consumer_for))
        for holder in _holders():
            session = holder._session_here()
            if session.thread is not None:
                # It keeps its server, its thread and its futures, and is not asked until the end.
                self._held.append((holder, session))
                holder._session = holder._new_session()

    def stop(self) -> None:
        """Give all watchers back; futures that are pending end with ``WatcherClosedError``. Idempotent."""
        self._undo.close()

    def sessions(self) -> list[Session]:
        """Those that have begun."""
        found = (holder._session_here() for holder in _holders())
        return [session for session in found if session.thread is not None and session.ended is None]

    def settle(self) -> None:
        """Return when all watchers have handled what they were told, and what was published, by now.

        At once in a callback, which is what they would have to finish first, and during an outage.
        """
        sessions = self.sessions()
        if any(session.on_drain_thread() for session in sessions):
            return
        for session in sessions:
            if self._memory.outage is None:
                # Closed meanwhile, or given up on.
                with contextlib.suppress(WatcherError):
                    catch_up(session, _PATIENCE)

    def await_outage(self) -> None:
        """Return when all watchers have noticed that there is one."""
        self._await(lambda session: session.outage_since is not None or session.state is State.FAILED)

    def await_recovery(self) -> None:
        """Return when all watchers are connected again; those that have given up are when they are asked."""
        self._await(lambda session: session.state in (State.DRAINING, State.FAILED))

    def _await(self, reached: Callable[[Session], bool]) -> None:
        sessions = self.sessions()
        deadline = time.monotonic() + _PATIENCE
        while not all(
            reached(session) or session.on_drain_thread() or session.ended is not None for session in sessions
        ):
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK_EVERY)

    def _consumer_for(
        self, url: str, *, key_prefix: str = "", redis: Any = None, amqp: Any = None, **settings: Any
    ) -> BaseResultConsumer:
        # Made and thrown away: it refuses what the real one would, and says how replies find their way.
        options = {name: value for name, value in (("redis", redis), ("amqp", amqp)) if value is not None}
        real = consumer_for(url, key_prefix=key_prefix, **options, **settings)
        return MemoryConsumer(self._memory, url, binding=real.binding, **settings)

    def _give_back(self) -> None:
        held = {id(holder): session for holder, session in self._held}
        self._held.clear()
        for holder in _holders():
            session = holder._session_here()
            if session.thread is not None:
                # One that was closed stays so.
                session.end(_over)
                session.thread.join(_PATIENCE)
                if session.ended is not closed_error:
                    holder._replace(session)
            before = held.get(id(holder))
            if before is not None:
                closed = holder._session.ended is closed_error
                with leaf_lock():
                    holder._session = before
                if closed:
                    before.end(closed_error)


def _holders() -> Iterator[SessionHolder]:
    return (item for item in registered() if isinstance(item, SessionHolder))


def _over() -> WatcherClosedError:
    return WatcherClosedError("the test is over, and with it the fake that this future was waiting for")
