""":class:`Drainer`: the thread that owns the connection.

One turn: take the commands that callers appended, end what has expired, then wait for the connection, a wake-up or the
next deadline, and handle everything that has arrived. The time between two attempts to connect consists of the same
turns without a connection: cancelling, watching and closing go on during an outage. tenacity decides when to try again;
its ``sleep`` is :meth:`Drainer._back_off`.
"""

from __future__ import annotations

import math
import os
import random
import time

from bgresults.consumers.base import ConnectionLost
from bgresults.dispatcher import Dispatcher, SessionEnded
from bgresults.errors import BackendUnavailableError
from bgresults.outage_records import log_outage, log_recovery
from bgresults.pending import FutureRef
from bgresults.retry import retrying, shortened
from bgresults.session import Command, Session, State, undone
from bgresults.waits import tell_of

__all__ = ["Drainer"]

# Commands taken in one turn: a caller in a hurry must not keep the thread from reading.
_COMMANDS_PER_TURN = 5000


class Drainer:
    """Serves one session until it ends."""

    def __init__(self, session: Session, dispatcher: Dispatcher) -> None:
        assert session.wakeup is not None
        self._session = session
        self._wakeup = session.wakeup
        self._dispatcher = dispatcher
        self._consumer = session.consumer = session.settings.make_consumer(
            on_state=dispatcher.on_state,
            on_error=dispatcher.on_error,
            wakeup=session.wakeup,
            counters=session.counters,
            auto_reconnect=False,
            **({"reply_queue": session.reply_queue} if session.settings.binding == "process" else {}),
        )
        self._consumer.before_states = self._take_commands
        self._connected_at: float | None = None
        # How often in a row a connection was lost right after it had been made.
        self._short_lived = 0
        self._was_connected = False
        self._probe_wanted = False
        # Whether somebody registered futures while they were refused.
        self._left_out = False

    def serve(self) -> None:
        """Connect and drain, again and again.

        Raises:
            SessionEnded: the session is over, or this is a forked child now.
        """
        failure: ConnectionLost | None = None
        while True:
            try:
                if failure is None or not failure.permanent:
                    self._connect_with_patience()
                else:
                    self._fail(failure)
                self._connected_at = time.monotonic()
                failure = None
                while True:
                    self._turn()
                    # Here, and not while it catches up: who has a recovered result finds the reconnect counted.
                    self._dispatcher.let_them_run()
            except ConnectionLost as lost:
                self._outage(lost)
                failure = lost
                self._slow_down()

    # -- connecting --------------------------------------------------------------------------------------------------

    def _connect_with_patience(self) -> None:
        """Return when connected and caught up."""
        attempts = retrying(
            self._session.settings.retry,
            worth_retrying=lambda error: isinstance(error, ConnectionLost) and not error.permanent,
            sleep=self._back_off,
            before_sleep=self._outage,
        )
        try:
            attempts(self._connect)
        except ConnectionLost as error:
            self._outage(error)
            self._fail(error)

    def _connect(self) -> None:
        """One attempt. It has succeeded when what happened meanwhile is known too, not when TCP connects."""
        session = self._session
        self._take_commands()
        # Whatever went wrong with an id before, it ends here at the latest.
        self._release(self._consumer.consumed_ids())
        if session.state is not State.FAILED:
            session.state = State.CONNECTING
        self._consumer.reconnect()
        if session.state is not State.FAILED:
            session.state = State.SYNCING
        while not self._consumer.synced:
            self._turn()
        self._connected()

    def _connected(self) -> None:
        session = self._session
        if self._was_connected:
            session.counters.reconnects += 1
        self._was_connected = True
        session.refusal = None
        session.reply_to = self._consumer.reply_to
        session.state = State.DRAINING
        session.connected_at = time.monotonic()
        outage_since, session.outage_since = session.outage_since, None
        session.ready.set()
        if outage_since is not None:
            recovered = session.outage_log.end(len(session.pending))
            session.outage_listeners.call()
            log_recovery(session, session.connected_at - outage_since, recovered)

    def _outage(self, error: BaseException) -> None:
        """There is no connection. The first time, say so, and fail whoever wanted to hear of it."""
        session = self._session
        if session.pid != os.getpid():
            # A fork copies greenlets. This one finds its connection closed, in a child where it has no business.
            raise SessionEnded
        # What came with the end of the connection has not waited for the next one.
        self._dispatcher.tell_endings()
        session.ready.clear()
        session.last_error = str(error)
        if session.state is not State.FAILED:
            session.state = State.BACKOFF
        if session.outage_since is not None:
            return
        session.outage_since = time.monotonic()
        session.outage_log.begin(str(error), len(session.pending))
        session.outage_listeners.call()
        log_outage(session, error)
        if session.settings.on_disconnect == "fail":
            self._refuse(f"no connection to the result backend: {error}")

    def _slow_down(self) -> None:
        """Do not hammer a server that lets us in and throws us out at once: back off from that as well."""
        policy = self._session.settings.retry
        lived = 0.0 if self._connected_at is None else time.monotonic() - self._connected_at
        self._short_lived = self._short_lived + 1 if lived < policy.maximum else 0
        if self._short_lived > 1:
            longest = min(policy.maximum, policy.initial * 2.0 ** min(self._short_lived - 2, 30))
            self._back_off(random.uniform(0, longest))

    def _back_off(self, seconds: float) -> None:
        """Turns without a connection: tenacity's sleep."""
        began = time.monotonic()
        # Asked anew in every turn: tests switch the back-off off while somebody is in it.
        while (remaining := began + shortened(seconds) - time.monotonic()) > 0:
            self._idle_turn(remaining)

    def _fail(self, error: ConnectionLost) -> None:
        """Trying again is vain, or took too long: fail what waits, and look again only when somebody asks.

        Returns when the backend is mended, and connected.
        """
        session = self._session
        policy = session.settings.retry
        words = str(error) if error.permanent else f"gave up after {policy.give_up_after:g} s: {error}"
        session.state = State.FAILED
        while True:
            self._refuse(f"the result backend cannot be used: {words}")
            session.ready.set()
            self._probe_wanted = False
            failed_at = time.monotonic()
            self._look_around()
            # How long to sleep is asked after the commands were taken: a wish to look again may have been among them.
            while (early := failed_at + shortened(policy.maximum) - time.monotonic()) > 0 or not self._probe_wanted:
                self._sleep(max(0.0, early) if self._probe_wanted else None)
                self._look_around()
            try:
                self._connect()
            except ConnectionLost as still:
                words = session.last_error = str(still)
            else:
                return

    def _refuse(self, text: str) -> None:
        """Fail everything that is pending and everything that comes, until further notice."""
        session = self._session
        session.outage_log.gave_up(len(session.pending))
        session.refusal = lambda: BackendUnavailableError(text)
        self._dispatcher.fail_all(session.refusal)
        self._release(self._consumer.consumed_ids())

    # -- turns -------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._look_around()
        if self._consumer.drain_events(self._patience()):
            self._session.heard_at = time.monotonic()

    def _idle_turn(self, seconds: float) -> None:
        """A turn without a connection."""
        self._look_around()
        self._sleep(seconds)

    def _sleep(self, seconds: float | None) -> None:
        """Without a connection; None: until something happens."""
        waits = [wait for wait in (seconds, self._patience()) if wait is not None]
        if self._wakeup.wait(min(waits, default=math.inf)):
            self._wakeup.clear()

    def _patience(self) -> float | None:
        """Seconds until something of our own is due."""
        if self._session.commands:
            return 0.0
        deadline = self._session.pending.next_deadline()
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _look_around(self) -> None:
        session = self._session
        if session.pid != os.getpid() or session.ended is not None or session.owner() is None:
            raise SessionEnded
        self._dispatcher.tell_endings()
        pending = session.pending
        if session.commands or self._left_out:
            self._take_commands()
        if pending.released:
            self._take_released()
        if pending.anything_to_purge():
            self._take_dropped()
        deadline = pending.next_deadline()
        if deadline is not None:
            now = time.monotonic()
            if deadline <= now:
                self._release(self._dispatcher.expire(now))

    def _take_commands(self) -> None:
        session = self._session
        commands, counters = session.commands, session.counters
        consume: list[str] = []
        release: list[str] = []
        # For the futures that are new. Here and not in the calling thread, where each microsecond counts.
        now = time.monotonic() if commands else 0.0
        for _ in range(min(len(commands), _COMMANDS_PER_TURN)):
            command, payload = commands.popleft()
            if command is Command.WATCH:
                counters.watched += len(payload)
                consume += session.pending.admit(payload, now)
                # Whoever takes them back learns from this that they were counted.
                payload.clear()
            elif command is Command.UNDO:
                task_ids = undone(payload)
                # Otherwise no WATCH has counted them.
                if not payload[0]:
                    counters.watched -= len(task_ids)
                release.extend(task_ids)
            elif command is Command.ABANDONED:
                # With callbacks, if it is of a submission that was given up: they are no worse than those of others.
                payload._cancel(lambda callback, future=payload: self._dispatcher.run(callback, future, future))
            elif command is Command.PROBE:
                self._probe_wanted = True
            elif command is Command.DECLARE:
                task_ids, then = payload
                for task_id in task_ids:
                    self._consumer.declare_for(task_id, then)
            elif command is Command.CATCH_UP:
                self._consumer.catch_up(payload)
        self._consume(consume)
        if release:
            self._release(release)

    def _consume(self, task_ids: list[str]) -> None:
        """Ask for new ids, unless they are being taken back."""
        session = self._session
        if session.refusal is not None:
            # Whoever registered these takes them back, and an attempt to connect that has them in hand might lose them
            # before it has read anything. It would be taken for one that succeeded.
            self._left_out = self._left_out or bool(task_ids)
        elif self._left_out:
            # Some may have been registered before the refusal ended, and looked at after that.
            self._left_out = False
            self._consumer.consume_from_many(session.pending.ids())
        elif task_ids:
            self._consumer.consume_from_many(task_ids)

    def _take_released(self) -> None:
        released = self._session.pending.released
        refs = [released.popleft() for _ in range(len(released))]
        self._session.counters.cancelled += len(refs)
        self._let_go(refs, "cancelled")

    def _take_dropped(self) -> None:
        refs = self._session.pending.purge()
        self._session.counters.dropped += len(refs)
        self._let_go(refs, "dropped")

    def _let_go(self, refs: list[FutureRef], outcome: str) -> None:
        tell_of(refs, outcome)
        self._release([ref.task_id for ref in refs])

    def _release(self, task_ids: list[str]) -> None:
        """Stop asking for those of these ids that nobody waits for any more."""
        pending = self._session.pending
        self._consumer.cancel_for_many([task_id for task_id in task_ids if task_id not in pending])
