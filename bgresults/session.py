""":class:`Session`: what the callers of a watcher share with its drain thread, in one process.

A session belongs to one process and, once started, to one thread. Callers register futures and append commands; the
thread takes them. The rule at every hand-over is *append first, wake second*, and *insert first, look at the refusal
second*: whatever order two threads come in, either the thread sees the new future or the caller sees the refusal.

A forked child abandons the session it inherited and makes a new one; so does a watcher whose thread died.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bgresults.consumers.base import BaseResultConsumer
from bgresults.errors import ForkedError, WatcherError
from bgresults.forking import here, leaf_lock
from bgresults.futures import ResultFuture
from bgresults.latch import Latch
from bgresults.listeners import Listeners
from bgresults.options import RetryPolicy
from bgresults.outage_log import OutageLog
from bgresults.pending import FutureRef, PendingResults
from bgresults.reply_queues import new_reply_queue
from bgresults.stats import Counters, WatcherStats
from bgresults.waits import Observer, tell_of
from bgresults.wakeup import Wakeup

__all__ = ["Command", "ErrorFactory", "Session", "SessionSettings", "State", "undone"]

#: Makes an error. Futures never share an exception: each raise would grow the same traceback.
ErrorFactory = Callable[[], WatcherError]


class State(enum.Enum):
    """Where the drain thread is."""

    IDLE = "idle"
    CONNECTING = "connecting"
    SYNCING = "syncing"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"
    CLOSING = "closing"
    CLOSED = "closed"


# No consumer sleeps for longer than a quarter of its heartbeat, of which an hour is the longest: then it looks around.
_LONGEST_SLEEP = 1000.0


class Command(enum.Enum):
    """What callers tell the drain thread, with what comes along."""

    #: A list of references was registered: ask for their ids.
    WATCH = enum.auto()
    #: Futures were taken back by the call that had registered them: the references of that call, and the ids.
    UNDO = enum.auto()
    #: A state stream was dropped: cancel its future.
    ABANDONED = enum.auto()
    #: Somebody would like to know whether a failed backend is mended.
    PROBE = enum.auto()
    #: Tasks will be sent: their ids, and what to call for each when its reply queue is there.
    DECLARE = enum.auto()
    #: Somebody asks for what is known by now, without waiting for more: what to call when that has been handled.
    CATCH_UP = enum.auto()


@dataclass(frozen=True)
class SessionSettings:
    """What does not change over the sessions of a watcher."""

    name: str
    address: str
    logger: logging.Logger
    # It knows the password.
    make_consumer: Callable[..., BaseResultConsumer] = field(repr=False)
    retry: RetryPolicy
    on_disconnect: str
    #: Whether results come as replies, to one queue of this process; to one queue for each task; or neither.
    binding: str | None = None


class Session:
    """See the module's text. Attributes are written by the drain thread unless their comment says otherwise."""

    def __init__(self, settings: SessionSettings, owner: Any) -> None:
        self.settings = settings
        self.logger = settings.logger
        process = here()
        self.pid, self.generation = process.pid, process.generation
        self.pending = PendingResults()
        self.counters = Counters()
        # Appended to by any thread, taken by the drain thread.
        self.commands: deque[tuple[Command, Any]] = deque()
        self.state = State.IDLE
        self.consumer: BaseResultConsumer | None = None
        #: The name of the one reply queue for all ids, where there is one: known before there is a connection.
        self.reply_queue = new_reply_queue()
        #: That name, from the first connection on: the queue is there.
        self.reply_to: str | None = None
        #: Why new watches fail at once; None while they are welcome.
        self.refusal: ErrorFactory | None = None
        #: Why this session is over. Set once, by the closing thread, by a forked child, or by the thread as it dies.
        self.ended: ErrorFactory | None = None
        #: Whether nobody will take commands any more. Set by the drain thread, or by whoever closes without one.
        self.over = False
        # For those who ask how it is doing; all times are of `time.monotonic`.
        self.began_at = time.monotonic()
        self.connected_at: float | None = None
        #: When the outage began that is not over yet.
        self.outage_since: float | None = None
        #: Called after `outage_since` has changed. Added to by any thread.
        self.outage_listeners = Listeners()
        #: What the last outages were, for those who ask afterwards.
        self.outage_log = OutageLog(self.counters)
        #: When states came last.
        self.heard_at: float | None = None
        #: Why there is, or last was, no connection. Shows no password.
        self.last_error: str | None = None
        #: Set while there is something to learn from `state`: connected, failed or over.
        self.ready = Latch()
        # Set by the starting thread, under `starting`.
        self.thread: threading.Thread | None = None
        self.thread_ident: int | None = None
        # Which start the thread belongs to; None if there was none, or it was given up.
        self.start_token: object | None = None
        self.wakeup: Wakeup | None = None
        # Re-entrant: a signal handler may call watch() in the middle of the start.
        self.starting = threading.RLock()
        #: Who is told of waits that begin. Written under the leaf lock.
        self.observers: tuple[Observer, ...] = ()
        # Whether somebody is registering near `max_pending`; written under the leaf lock.
        self.admitting = False
        # The thread must not keep its watcher alive, and must end with it.
        self.owner = weakref.ref(owner, self._owner_is_gone)

    # -- any thread --------------------------------------------------------------------------------------------------

    def tell(self, command: Command, payload: Any = None) -> None:
        """Append a command and wake the drain thread."""
        try:
            self.commands.append((command, payload))
            self.wake()
        except BaseException:
            # A signal handler raised: what was appended must not wait for somebody else's wake-up.
            self.wake()
            raise

    def wake(self) -> None:
        """Make the drain thread look around."""
        wakeup = self.wakeup
        if wakeup is not None:
            wakeup.wake()

    def dropped(self, ref: weakref.ref[ResultFuture]) -> None:
        """A future is gone. May run in the garbage collector, inside any lock, or in a forked child: see pid."""
        if self.pid == os.getpid():
            assert isinstance(ref, FutureRef)
            self.pending.dropped.append(ref)
            self.wake()

    def wake_for(self, task_ids: Sequence[str], deadline: float | None) -> None:
        """:meth:`wake` for ids that were registered, unless nothing has to be done for them now.

        A wake-up costs as much as a result does: a system call here, and a turn there.
        """
        consumer = self.consumer
        if (
            consumer is None
            or self.state is not State.DRAINING
            or (deadline is not None and deadline < time.monotonic() + _LONGEST_SLEEP)
            or consumer.needs_waking(task_ids)
        ):
            self.wake()

    def started_or_ended(self) -> bool:
        """Whether there is nothing to start: a thread was started, or the session is over."""
        return self.thread is not None or self.ended is not None

    def take_orphans(self) -> list[FutureRef]:
        """No thread could be started: take out all futures, and what was to be done for them. Under ``starting``.

        Futures are registered before their command is appended, so the commands that are here now are about futures
        that are taken now; those of a caller who comes meanwhile stay for the next thread.
        """
        commands = len(self.commands)
        orphans = [ref for task_id in self.pending.ids() for ref in self.pending.take(task_id)]
        for _ in range(commands):
            command, payload = self.commands.popleft()
            # Counted as by the thread, since somebody may be about to take one of them back.
            if command is Command.WATCH:
                self.counters.watched += len(payload)
                payload.clear()
            elif command is Command.UNDO and not payload[0]:
                self.counters.watched -= len(undone(payload))
        return orphans

    def purge(self) -> None:
        """Make room: take out the dropped futures now instead of in the next turn."""
        self.pending.sweep()
        self.wake()

    def end(self, why: ErrorFactory) -> None:
        """Have the drain thread finish; futures that are pending then, or come later, get ``why()``."""
        try:
            if self.ended is None:
                self.ended = why
            self.wake()
        except BaseException:
            # A signal handler raised, perhaps before the thread was woken.
            self.wake()
            raise

    def finish(self) -> None:
        """Nobody takes commands from here on: count what was not taken, and what callers may append all the same.

        By the drain thread as it goes, and by any thread that has appended something and then finds it gone.
        """
        self.over = True
        counters = self.counters
        with leaf_lock():
            while self.commands:
                command, payload = self.commands.popleft()
                if command is Command.WATCH:
                    counters.watched += len(payload)
                    payload.clear()
                elif command is Command.UNDO and not payload[0]:
                    counters.watched -= len(undone(payload))
            cancelled = [self.pending.released.popleft() for _ in range(len(self.pending.released))]
            counters.cancelled += len(cancelled)
            dropped = self.pending.purge()
            counters.dropped += len(dropped)
        tell_of(cancelled, "cancelled")
        tell_of(dropped, "dropped")

    def current_refusal(self) -> ErrorFactory | None:
        """Why a future that has just been registered must not stay so."""
        return self.ended or self.refusal

    def on_drain_thread(self) -> bool:
        """Whether the caller runs on this session's drain thread."""
        return self.thread_ident == threading.get_ident()

    def stats(self) -> WatcherStats:
        """A snapshot."""
        consumer, thread = self.consumer, self.thread
        alive = thread is not None and thread.is_alive()
        return self.counters.snapshot(
            pending=len(self.pending),
            # Without its thread a consumer asks for nothing, whatever it remembers.
            subscribed=consumer.subscribed if consumer is not None and alive else 0,
            connected=self.state in (State.SYNCING, State.DRAINING),
            state=self.state.value,
            thread_alive=alive,
        )

    def _owner_is_gone(self, _owner: weakref.ref[Any]) -> None:
        if self.pid == os.getpid():
            self.wake()

    # -- the forked child --------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """In a forked child: this session is the parent's. Close the inherited descriptors, send nothing."""
        self.ended = _forked
        self.thread_ident = None
        if self.consumer is not None:
            self.consumer.on_after_fork()
        if self.wakeup is not None:
            self.wakeup.close_inherited()
        # This very thread may wait for it: the fork was a signal handler's, and it goes on here.
        self.ready.set()


def undone(payload: tuple[list[FutureRef], deque[FutureRef]]) -> list[str]:
    """Take the ids out of an UNDO: whoever was interrupted tells it twice, and it counts once."""
    refs = payload[1]
    return [refs.popleft().task_id for _ in range(len(refs))]


def _forked() -> ForkedError:
    return ForkedError("this process was forked while the call was under way; call again")
