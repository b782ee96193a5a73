"""A watcher over a scripted consumer, and its drain thread in lockstep with the test."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest import mock

import tenacity

from bgresults import ResultWatcher, RetryPolicy, dispatcher, drain_thread, drainer, forking, pending, readiness
from bgresults import session as session_module
from bgresults import watcher as watcher_module
from bgresults.configuration import Configuration
from bgresults.consumers.base import ConnectionLost
from bgresults.session import Session, SessionSettings, State
from tests.model.book import BY_HAND, CLOSED, UNAVAILABLE, Book, end_told_by
from tests.model.kinds import QueueConsumer, StoreConsumer
from tests.model.lockstep import Clock, Lockstep, SteppedWakeup
from tests.model.scripted import Body, ScriptedConsumer, ScriptedServer, is_final

__all__ = ["GIVING_UP", "MAX_PENDING", "RETRY", "Kind", "OnDisconnect", "Scene"]

Kind = Literal["store", "queue"]
OnDisconnect = Literal["wait", "fail"]

MAX_PENDING = 6
RETRY = RetryPolicy(initial=0.05, maximum=5.0)
GIVING_UP = RetryPolicy(initial=0.05, maximum=5.0, give_up_after=3.0)
# Turns without anything new to do.
_RESTLESS = 200
_TIMED = (dispatcher, drainer, readiness, session_module, watcher_module, tenacity)


class _ScriptedWatcher(ResultWatcher):
    def __init__(self, settings: SessionSettings) -> None:
        self._adopt(Configuration(settings, default_lifetime=None, max_pending=MAX_PENDING, connect_timeout=2.0))


class Scene:
    """One watcher after the other, each with a book of its own; see :meth:`begin`."""

    def __init__(self, kind: Kind, on_disconnect: OnDisconnect, retry: RetryPolicy = RETRY) -> None:
        self.kind = kind
        self.on_disconnect = on_disconnect
        self.retry = retry
        self.clock = Clock()
        self.lockstep = Lockstep(self.clock, self.locks)
        self.server = ScriptedServer()
        self.book = Book()
        self.watcher: ResultWatcher
        self._patches = contextlib.ExitStack()
        for module in _TIMED:
            self._patches.enter_context(mock.patch.object(module, "time", self.clock))
        self._patches.enter_context(mock.patch.object(drain_thread, "Wakeup", self._make_wakeup))
        # One that a few futures exceed.
        self._patches.enter_context(mock.patch.object(pending, "_SMALL_HEAP", 3))
        # Callbacks that raise are told to the log, hundreds of times.
        logging.disable()
        self._patches.callback(logging.disable, logging.NOTSET)
        self.begin()

    def begin(self) -> None:
        """A new watcher, a new server."""
        self.server = ScriptedServer()
        self.book = Book()
        self.watcher = _ScriptedWatcher(
            SessionSettings(
                name="scripted",
                address="scripted://",
                logger=logging.getLogger("bgresults"),
                make_consumer=self._make_consumer,
                retry=self.retry,
                on_disconnect=self.on_disconnect,
            )
        )

    def leave(self) -> None:
        """Undo everything, whatever has happened."""
        self.lockstep.give_up()
        thread = self.session.thread
        if thread is not None:
            thread.join(20)
        self._patches.close()

    @property
    def session(self) -> Session:
        """The watcher's own, of whatever process."""
        return self.watcher._session

    @property
    def consumer(self) -> ScriptedConsumer | None:
        """Of the session."""
        return self.session.consumer  # type: ignore[return-value]

    def locks(self) -> Iterator[Any]:
        """All that the library may hold while it does something else."""
        session = self.session
        yield forking.leaf_lock()
        yield session.starting
        if session.wakeup is not None:
            yield session.wakeup._closing
        for entry in self.book.entries:
            future = entry.future()
            if future is not None and future._cond is not None:
                yield future._cond.lock

    # -- the drain thread --------------------------------------------------------------------------------------------

    def go_on(self, line: int = 0) -> None:
        """One step of the drain thread, if it runs."""
        self.lockstep.meet()
        if self.lockstep.place is None:
            return
        self.lockstep.go_on(line)
        session, consumer = self.session, self.consumer
        thread = session.thread
        if thread is not None and not self.lockstep.running:
            thread.join(20)
            assert not thread.is_alive()
        self.book.look(self.clock.now)
        if session.state is State.DRAINING and consumer is not None and consumer.connected and consumer.broken is None:
            self.book.always.discard(UNAVAILABLE)

    def come_to_rest(self) -> None:
        """Let the drain thread do all that there is to do.

        Raises:
            AssertionError: it does not come to an end.
        """
        self.lockstep.meet()
        for _ in range(_RESTLESS):
            place = self.lockstep.place
            if place is None or not (place.what in ("start", "connect", "line") or self._disturbed()):
                return
            self.go_on()
        raise AssertionError(f"the drain thread finds no rest: {self.lockstep.place}, {self.session.state}")

    def _disturbed(self) -> bool:
        wakeup: Any = self.session.wakeup
        place = self.lockstep.place
        assert place is not None
        readable = place.what == "drain" and self.consumer is not None and self.consumer.readable()
        return readable or wakeup.raised() or self.lockstep.due()

    def _make_wakeup(self) -> SteppedWakeup:
        return SteppedWakeup(self.lockstep)

    def _make_consumer(self, **settings: Any) -> ScriptedConsumer:
        kind = StoreConsumer if self.kind == "store" else QueueConsumer
        return kind(self.server, self.lockstep, self._passing_on, self._lost, **settings)

    # What follows is called by the consumer, in the drain thread.

    def _passing_on(self, task_id: str, body: Body, pass_on: Callable[[], object]) -> None:
        if not is_final(body):
            pass_on()
            return
        told = (task_id, end_told_by(body))
        self.book.history.append(told)
        waiting = self.book.live(task_id)
        pass_on()
        # Once more, for those that came meanwhile.
        self.book.history.append(told)
        for entry in waiting:
            future = entry.future()
            # Somebody who is about to end it by hand has taken it out before, and ends it himself.
            left = BY_HAND in entry.own or entry.end is not None or future is None or future.done()
            assert left, f"{task_id} was told, and is pending"

    def _lost(self, error: ConnectionLost) -> None:
        if self.on_disconnect == "fail" or error.permanent or self.retry.give_up_after is not None:
            self.book.always.add(UNAVAILABLE)

    # -- the end of a watcher ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it, from whatever thread; its drain thread has not noticed yet."""
        self.bury()
        self.book.always.add(CLOSED)
        self.watcher.close(timeout=0)
        assert self.watcher.closed

    def bury(self) -> bool:
        """If the thread has met a bug: let it end what it has to end, and begin a new book. Whether it was so."""
        book = self.book
        if self.session.ended is None or self.closing:
            return False
        self.come_to_rest()
        book.look(self.clock.now)
        live = book.live()
        if self.book is not book:
            # Calls that came in between: one was told of it, and the next one has begun anew.
            return False
        assert not live
        self.book = Book()
        return True

    @property
    def closing(self) -> bool:
        """Whether it was closed."""
        return CLOSED in self.book.always

    def in_this_process(self) -> None:
        """In a forked child: there is no drain thread to be in step with, and another server."""
        self.lockstep = Lockstep(self.clock, self.locks)
        self.server = ScriptedServer()
        self.book = Book()
        assert os.getpid() == self.watcher._session_here().pid
