"""What all interleavings share: a server, a warm watcher, and what has to be true after each of them."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from bgresults import (
    ForkedError,
    RedisOptions,
    ResultDecodeError,
    ResultFuture,
    ResultWatcher,
    RetryPolicy,
    WatcherClosedError,
    WatchExpiredError,
)
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.frames import innermost_frame
from tests.support.results import ResultWriter, new_id, new_ids, state_body
from tests.support.stops import LineTracer

__all__ = [
    "BROKEN",
    "CANCELLED",
    "CLOSED",
    "EXPIRED",
    "FAILED",
    "FORKED",
    "VALUE",
    "WAIT",
    "Bench",
    "Run",
    "adds_up",
    "end_of",
]

WAIT = 10.0

# How a future may end.
VALUE, CANCELLED, CLOSED, EXPIRED, FORKED = "value", "cancelled", "closed", "expired", "forked"
FAILED, BROKEN = "failed", "broken"
_ERRORS: dict[type[BaseException], str] = {
    WatcherClosedError: CLOSED,
    WatchExpiredError: EXPIRED,
    ForkedError: FORKED,
    ResultDecodeError: BROKEN,
    # What the tasks of these tests raise.
    ValueError: FAILED,
}
_QUICK = RetryPolicy(initial=0.001, maximum=0.01)
# A drain thread that was not woken sleeps on, and is found out.
_QUIET = RedisOptions(health_check_interval=300, read_timeout=300)


def end_of(future: ResultFuture) -> str:
    """How a future ended; waits for it."""
    try:
        error = future.exception(WAIT)
    except CancelledError:
        return CANCELLED
    if error is None:
        assert future.result(0) == "value"
        return VALUE
    return _ERRORS.get(type(error), repr(error))


class Bench:
    """One server and one connected watcher for many cases, and new watchers for those that end theirs.

    Attributes:
        watcher: the shared one.
        tracer: traces its drain thread.
        stored_id: of a result that is stored, for a child to find.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.writer = ResultWriter(server)
        self.stored_id = new_id()
        # Without an end: the long variants take longer than a result usually lives.
        self.writer.client.set(self.writer.key(self.stored_id), state_body(self.stored_id, result="value"))
        #: Task id → the case that watched it.
        self.history: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        self.watcher, self.tracer = self.new_watcher()
        # They wait all the time. Whoever unsubscribed on an inherited socket would take them away.
        self.canaries = self.watcher.watch_many(new_ids(3))
        self.until_subscribed(set())

    def new_watcher(self, *, connected: bool = True) -> tuple[ResultWatcher, LineTracer]:
        """A watcher, and what traces its drain thread."""
        watcher, tracer = ResultWatcher(self.server.url(), retry=_QUICK, redis=_QUIET), LineTracer()
        if connected:
            with tracer.new_threads():
                assert watcher.wait_ready(WAIT)
        return watcher, tracer

    def connections_received(self) -> int:
        """How many connections the server has seen."""
        return int(self.writer.client.info("stats")["total_connections_received"])

    @contextlib.contextmanager
    def case(self, what: Callable[[], str]) -> Iterator[None]:
        """Say in which case something went wrong; the next one begins with a new watcher then."""
        try:
            yield
        except Exception as error:
            self.watcher.close()
            self.history.clear()
            wait_until(lambda: not self.writer.channels(), "no channel")
            self._begin()
            raise AssertionError(f"{what()}: {error}") from error

    def until_subscribed(self, task_ids: set[str]) -> None:
        """Wait until these are the only ids that are subscribed, beside the canaries."""
        expected = task_ids | {future.task_id for future in self.canaries}
        wait_until(lambda: self.writer.channels() == expected, "the subscriptions", interval=0.001)

    def check(self) -> None:
        """Nothing is subscribed that nobody waits for, and the counters say what happened."""
        with self.case(lambda: str({self.history[each] for each in self.writer.channels() if each in self.history})):
            self.until_subscribed(set())
            wait_until(lambda: adds_up(self.watcher), f"the counters to add up: {self.watcher.stats()}")
        self.history.clear()

    def close(self) -> None:
        """The canaries were alive to the end."""
        for future in self.canaries:
            self.writer.write(future.task_id, "value")
        assert {end_of(future) for future in self.canaries} == {VALUE}
        assert self.watcher.stats().reconnects == 0
        self.watcher.close()
        self.writer.close()


def adds_up(watcher: ResultWatcher) -> bool:
    """Whether every future that was watched is pending or has been counted as ended."""
    stats = watcher.stats()
    ended = stats.resolved + stats.failed + stats.cancelled + stats.dropped + stats.expired
    return stats.watched == stats.pending + ended


class Run:
    """One case: an operation, and what happens in the middle of it.

    Attributes:
        watcher: the shared one, or one that this case may end.
        tracer: traces its drain thread.
        task_id: what the operation is about.
        futures: all that were handed out.
        calls: of callbacks.
        ends: how the futures may end.
        kept: what else has to stay alive for a while.
        due: ids that get a result in any case, whether or not a future of theirs is left.
    """

    def __init__(self, bench: Bench, case: str, ends: frozenset[str], *, own: bool, connected: bool = True) -> None:
        self.bench = bench
        self.case = case
        self.own = own
        self.pid = os.getpid()
        #: Whether nothing but a child connects meanwhile.
        self.settled = connected and CLOSED not in ends
        self.watcher, self.tracer = bench.new_watcher(connected=connected) if own else (bench.watcher, bench.tracer)
        self.futures: list[ResultFuture] = []
        self.calls: list[Any] = []
        self.kept: list[Any] = []
        self.due: set[str] = set()
        #: Of forked children; those that still run.
        self.exit_codes: list[int] = []
        self.children: list[int] = []
        self.ends = ends
        self.reconnects = 0
        self._pending = 0 if own else len(bench.canaries)
        self.task_id = self.new_id()

    def new_id(self) -> str:
        """A task id of this case."""
        task_id = new_id()
        self.bench.history[task_id] = self.case
        return task_id

    def watch(self, task_id: str | None = None, **options: Any) -> ResultFuture:
        """Watch, and remember the future."""
        future = self.watcher.watch(task_id or self.task_id, **options)
        self.futures.append(future)
        return future

    def write(self, task_id: str | None = None) -> None:
        """The task ends."""
        self.bench.writer.write(task_id or self.task_id, "value")

    def idle(self) -> bool:
        """Whether the drain thread has nothing to do: it sleeps in its select."""
        session = self.watcher._session
        consumer: Any = session.consumer
        links = consumer and consumer._links
        if links is None or session.commands or consumer._subscriptions.next_due() is not None:
            return False
        # No answer is on its way either.
        if links.subscriber._due or links.reader._due:
            return False
        frame = innermost_frame(session.thread_ident)
        return frame is not None and frame.f_code.co_name == "select"

    def until_idle(self, *subscribed: str) -> None:
        """Wait until the drain thread has done all that there was, and just these ids are subscribed."""
        self.bench.until_subscribed(set(subscribed))
        wait_until(self.idle, "an idle drain thread", interval=0.001)

    def finish(self) -> None:
        """Every future ends, and nothing else has changed.

        Raises:
            AssertionError: it is not so.
        """
        if not self.watcher.closed:
            for task_id in self.due | {future.task_id for future in self.futures if not future.done()}:
                self.write(task_id)
        # Not by waiting for them: that would let go of a lock that this thread has kept by mistake.
        wait_until(lambda: all(future.done() for future in self.futures), "the futures to end", interval=0.001)
        ends = [end_of(future) for future in self.futures]
        assert set(ends) <= self.ends, f"{ends} instead of {sorted(self.ends)}"
        self.kept.clear()
        wait_until(lambda: self.watcher.pending == self._pending, "the futures to leave", interval=0.001)
        self.futures.clear()
        if self.watcher.closed:
            thread = self.watcher._session.thread
            if thread is not None:
                thread.join(WAIT)
                assert not thread.is_alive()
        else:
            assert self.works()
            assert self.watcher.stats().reconnects == self.reconnects

    def works(self) -> bool:
        """Whether the watcher resolves a new id."""
        task_id = self.new_id()
        future = self.watcher.watch(task_id)
        self.write(task_id)
        return end_of(future) == VALUE

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.own:
            self.watcher.close()

    def check_child(self) -> None:
        """In a forked child: nothing of the parent's is of any use, and everything works.

        Raises:
            AssertionError: it is not so.
        """
        for future in list(self.futures):
            if not future.done():
                # Made in the child, by a call that the fork came in the middle of.
                with contextlib.closing(ResultWriter(self.bench.server)) as writer:
                    writer.write(future.task_id, "value")
            assert end_of(future) in self.ends | {FORKED}
        try:
            assert end_of(self.watcher.watch(self.bench.stored_id)) == VALUE
        except WatcherClosedError:
            assert CLOSED in self.ends
        self.futures.clear()
        self.kept.clear()
        gc.collect()
        assert self.watcher.pending == 0
