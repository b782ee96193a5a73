"""A drain thread that goes on only when it is told to: of it and the test one runs at a time, in any order.

It stands still wherever it would wait for something: for a connection, for messages, for the next attempt; and, if the
test wants it, at a line in between. Time passes when the test says so.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bgresults.dispatcher import SessionEnded
from bgresults.wakeup import Wakeup
from tests.model.interruptions import at_line
from tests.support.stops import LineTracer

__all__ = ["Clock", "Lockstep", "Place", "SteppedWakeup"]

# Seconds without a sign of the drain thread: it hangs.
_PATIENCE = 20.0


class Clock:
    """Stands in for the module ``time`` where the library asks for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        # Thread → when it asked last.
        self._read_at: dict[int, float] = {}

    def monotonic(self) -> float:
        """What the test says."""
        self._read_at[threading.get_ident()] = self.now
        return self.now

    @property
    def read_at(self) -> float:
        """What this thread was told last."""
        return self._read_at.get(threading.get_ident(), self.now)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@dataclass(frozen=True)
class Place:
    """Where the drain thread stands.

    Attributes:
        what: it is about to do: ``"start"``, ``"connect"``, ``"drain"``, ``"idle"``; or ``"line"``, in the middle.
        due: when it would go on by itself; None for never.
    """

    what: str
    due: float | None = None


class Lockstep:
    """Of one process. The methods are for the test's thread, unless they say otherwise.

    Args:
        clock: of the test.
        locks: that the drain thread must not hold when it stands at a line.
    """

    def __init__(self, clock: Clock, locks: Callable[[], Iterable[Any]]) -> None:
        #: None if it does not run.
        self.place: Place | None = None
        self._clock = clock
        self._locks = locks
        self._pid = os.getpid()
        self._test = threading.get_ident()
        self._expected = self._over = False
        self._arrivals: queue.SimpleQueue[Place | None] = queue.SimpleQueue()
        # Each with the number of the line to stand at next, 0 for none.
        self._departures: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._tracer = LineTracer()
        self._previous: Any = None
        self._tracing = False

    def expect(self) -> None:
        """A drain thread will be started."""
        self._expected = True

    def meet(self) -> None:
        """Wait for a thread that was started to come to its first place."""
        if self._expected:
            self._expected = False
            self._arrive()

    def go_on(self, line: int = 0) -> None:
        """Let it go on to its next place: that line of what it does now, if there is one."""
        assert self.place is not None, "the drain thread does not run"
        self._departures.put(line)
        self._arrive()

    def give_up(self) -> None:
        """The test is over, however it ended: let the thread leave."""
        self.meet()
        self._over = True
        if self.place is not None:
            self._departures.put(0)

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self.place is not None

    def due(self) -> bool:
        """Whether it would go on by itself now."""
        place = self.place
        return place is not None and place.due is not None and place.due <= self._clock.now

    def _arrive(self) -> None:
        try:
            self.place = self._arrivals.get(timeout=_PATIENCE)
        except queue.Empty:
            faulthandler.dump_traceback(file=sys.__stderr__ or 2)
            raise AssertionError(f"the drain thread hangs; it was at {self.place}, see stderr") from None

    # -- drain thread ------------------------------------------------------------------------------------------------

    def stand(self, what: str, timeout: float | None = None) -> None:
        """Stand here until the test says otherwise; ``timeout``: how long it would wait here by itself.

        Raises:
            SessionEnded: the test is over.
        """
        self._untrace()
        # Time may have passed, at a line, since it found out how long to wait.
        self._arrivals.put(Place(what, None if timeout is None else self._clock.read_at + timeout))
        self._leave()

    def left(self) -> None:
        """The thread has ended, but for a few steps that nobody sees."""
        if threading.get_ident() == self._test or os.getpid() != self._pid:
            self._expected = False
        else:
            self._untrace()
            self._arrivals.put(None)

    def _stand_at_line(self) -> None:
        self._arrivals.put(Place("line"))
        self._departures.get(timeout=_PATIENCE)

    def _leave(self) -> None:
        # Who gives up while the thread stands at a line lets it go from there once, and not from here as well.
        line = 0 if self._over else self._departures.get(timeout=2 * _PATIENCE)
        if self._over:
            raise SessionEnded
        if line:
            at_line(self._tracer, line, self._stand_at_line, self._locks)
            # There may be somebody who measures which lines the tests come to.
            self._previous, self._tracing = sys.gettrace(), True
            sys.settrace(self._tracer.on_call)

    def _untrace(self) -> None:
        self._tracer.disarm()
        if self._tracing:
            self._tracing = False
            sys.settrace(self._previous)


class SteppedWakeup(Wakeup):
    """The real one, but that the thread stands before it sleeps on it."""

    __slots__ = ("_lockstep",)

    def __init__(self, lockstep: Lockstep) -> None:
        super().__init__()
        self._lockstep = lockstep
        lockstep.expect()

    def wait(self, timeout: float) -> bool:
        self._lockstep.stand("idle", timeout)
        return self.raised()

    def raised(self) -> bool:
        """Whether somebody has woken the thread. Any thread."""
        return super().wait(0.0)

    def close(self) -> None:
        super().close()
        self._lockstep.left()
