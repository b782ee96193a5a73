"""The places where something was wrong once: each of their lines, every time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
from celery import Celery
from celery.result import AsyncResult

from bgresults import BackendUnavailableError, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy
from tests.interleavings.actions import ACTIONS, Action
from tests.interleavings.bench import WAIT, Bench, adds_up
from tests.interleavings.drain_operations import DRAIN_OPERATIONS
from tests.interleavings.handlers import HANDLERS, fork_while_the_lock_is_held
from tests.interleavings.interrupting import INTERRUPTED
from tests.interleavings.operations import CALLERS, Operation
from tests.interleavings.stopping import STOPPED_DRAIN_THREAD
from tests.support import wait_until
from tests.support.gates import drain_thread_held
from tests.support.results import ResultWriter, new_id
from tests.support.stops import Interruption, LineTracer, Point

# An exception out of a signal handler that was called in the middle of a destructor has nowhere to go.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def of(operations: list[Operation], name: str) -> Operation:
    """The operation of this name."""
    return next(operation for operation in operations if operation.name == name)


def by(actions: list[Action], name: str) -> Action:
    """The action of this name."""
    return next(action for action in actions if action.name == name)


@pytest.mark.parametrize(
    ("operation", "handler", "functions"),
    [
        # Joined under an id whose first future was gone by then: nobody would have resolved it.
        pytest.param("watch_again", "cancel", {"add"}, id="cancel_while_another_joins"),
        # Overwritten with what had been there before the handler: nobody would have resolved what it had added.
        pytest.param("cancel_one_of_two", "watch", {"forget", "_discard", "_refs"}, id="join_while_another_leaves"),
        # Cancelled, and still registered; or taken out, and still subscribed.
        pytest.param("cancel", "raise", {"cancel", "_forget", "forget", "_discard"}, id="raise_in_cancel"),
        pytest.param("cancel", "raise", {"_released", "wake"}, id="raise_before_the_thread_is_told_of_a_cancel"),
        # Taken out and never finished.
        pytest.param("finish_by_hand", "raise", {"_finish_by_hand", "_settle"}, id="raise_in_set_result"),
        # Kept alive by a stream that was never made.
        pytest.param("updates", "raise", {"__init__", "_append_callback"}, id="raise_in_updates"),
        # Kept alive for a caller who never got it: the call was over, but for its last lines.
        pytest.param("updates", "raise", {"_watch_as", "count_at_hand"}, id="raise_at_the_end_of_a_watch"),
        # Counted as never watched, and watched.
        pytest.param("watch_many", "raise", {"register", "add"}, id="raise_in_watch_many"),
        # Over, and nobody told the thread.
        pytest.param("close", "raise", {"close", "end", "wake"}, id="raise_in_close"),
        # The future's lock stayed locked, and the drain thread waited for it for ever.
        pytest.param("result", "raise", {"_wait", "_own_condition"}, id="raise_in_result"),
        pytest.param("add_done_callback", "raise", {"_append_callback"}, id="raise_in_add_done_callback"),
        # So did that of the event.
        pytest.param("first_wait_ready", "raise", {"wait_ready", "wait_until_ready", "wait"}, id="raise_in_wait_ready"),
    ],
)
def test_a_signal(bench: Bench, operation: str, handler: str, functions: set[str]) -> None:
    INTERRUPTED.lines_in(bench, of(CALLERS, operation), by(HANDLERS, handler), functions)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="PyOS_AfterFork_Child() aborts without PyOS_BeforeFork()")
@pytest.mark.parametrize(
    ("operation", "functions"),
    [
        # The registry is the parent's, and so was its lock.
        pytest.param("watch_again", {"_watch", "add"}, id="watch_again"),
        pytest.param("cancel", {"cancel", "_forget"}, id="cancel"),
        pytest.param("finish_by_hand", {"set_result", "_finish_by_hand", "_forget"}, id="set_result"),
    ],
)
def test_a_child_that_goes_on(bench: Bench, operation: str, functions: set[str]) -> None:
    action = Action("fork_while_the_lock_is_held", fork_while_the_lock_is_held)
    INTERRUPTED.lines_in(bench, of(CALLERS, operation), action, functions)


@pytest.mark.parametrize(
    ("operation", "action", "functions"),
    [
        # Counted as resolved, and as cancelled.
        pytest.param("message", "finish", {"on_state", "_finish"}, id="set_result_after_it_was_taken"),
        # Counted as cancelled, and as dropped.
        pytest.param("message_for_three", "cancel", {"on_state", "_finish"}, id="cancel_after_it_was_taken"),
    ],
)
def test_an_act_of_another_thread(bench: Bench, operation: str, action: str, functions: set[str]) -> None:
    STOPPED_DRAIN_THREAD.lines_in(bench, of(DRAIN_OPERATIONS, operation), by(ACTIONS, action), functions)


def test_a_signal_while_room_is_made(bench: Bench) -> None:
    """Dropped futures that a full watcher takes out before their turn: their ids must not stay subscribed."""
    places = {"register", "purge", "sweep", "_discard", "_refs", "wake"}
    points = watch_when_full(bench, 0).points
    numbers = [point.number for point in points if point.code.co_name in places]
    assert places == {points[number - 1].code.co_name for number in numbers}
    for number in numbers:
        watch_when_full(bench, number)


def watch_when_full(bench: Bench, number: int) -> LineTracer:
    """Ask a watcher for one more, with a signal at a line of that, whose handler raises."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    tracer, kept = LineTracer(), []
    with ResultWatcher(bench.server.url(), max_pending=3) as watcher:
        assert watcher.wait_ready(WAIT)
        with drain_thread_held(watcher):
            dropped = [watcher.watch(new_id()) for _ in range(3)]
            dropped.clear()
            try:
                with Interruption(tracer, number, interrupt), tracer.here():
                    kept.append(watcher.watch(new_id()))
            except KeyboardInterrupt:
                pass
            kept.clear()
        wait_until(lambda: not watcher.pending, f"nobody to wait, after a signal at line {number}")
        bench.until_subscribed(set())
    return tracer


def test_callbacks_of_a_cancelled_future(bench: Bench) -> None:
    """Cancelled, with a signal in the middle of it whose handler raises: somebody may wait for the callbacks."""
    points, _, _ = cancel_interrupted(bench, 0)
    # Up to there: who is interrupted while the callbacks are called has begun with them.
    last = max(point.number for point in points if point.code.co_name == "_released")
    assert {"_cancel", "forget"} <= {point.code.co_name for point in points[:last]}
    ended = 0
    for point in points[:last]:
        _, future, calls = cancel_interrupted(bench, point.number)
        assert len(calls) == future.cancelled(), f"after a signal at {point}"
        ended += future.cancelled()
        future.cancel()
    assert ended > last / 3


def cancel_interrupted(bench: Bench, number: int) -> tuple[list[Point], ResultFuture, list[object]]:
    """Cancel a future that has a callback, with a signal at a line of that; returns the lines, and what was called."""
    calls: list[object] = []
    future = bench.watcher.watch(new_id())
    future.add_done_callback(calls.append)
    return interrupted(future.cancel, number), future, calls.copy()


def test_a_signal_while_a_watch_is_refused(bench: Bench) -> None:
    """A watch with ``on_update`` during an outage, which is told so at once: nobody waits for what nobody got."""
    places = {"_watch_as", "_refused", "take_back", "forget", "unpin", "tell", "tell_at_once", "_settle"}
    standing, leave = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        standing.set()
        leave.wait(WAIT)

    with (
        FaultProxy(bench.server.port) as proxy,
        ResultWatcher(
            f"redis://127.0.0.1:{proxy.port}", on_disconnect="fail", retry=RetryPolicy(initial=0.1)
        ) as watcher,
    ):
        assert watcher.wait_ready(WAIT)
        try:
            # The drain thread stands in this callback, or it would find what is left before anybody could look.
            watcher.watch(new_id()).add_done_callback(hold)
            proxy.refuse()
            proxy.cut()
            assert standing.wait(WAIT)
            points = watch_while_refused(watcher, 0)
            numbers = [point.number for point in points if point.code.co_name in places]
            assert places == {points[number - 1].code.co_name for number in numbers}
            for number in numbers:
                watch_while_refused(watcher, number)
                assert watcher.pending == 0, f"after a signal at {points[number - 1]}"
        finally:
            leave.set()
        wait_until(lambda: not watcher._session.commands, "the thread to hear of all of them")
        wait_until(lambda: adds_up(watcher), f"the counters to add up: {watcher.stats()}")


def watch_while_refused(watcher: ResultWatcher, number: int) -> list[Point]:
    """Watch during an outage, with a signal at a line of that; returns the lines."""

    def watch() -> None:
        future = watcher.watch(new_id(), on_update=print)
        assert isinstance(future.exception(0), BackendUnavailableError)

    return interrupted(watch, number)


def interrupted(operation: Callable[[], object], number: int) -> list[Point]:
    """Do something, with a signal at the ``number``-th line of that, whose handler raises; returns the lines."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    tracer = LineTracer()
    try:
        with Interruption(tracer, number, interrupt), tracer.here():
            operation()
    except KeyboardInterrupt:
        pass
    return tracer.points


def test_a_signal_in_then(bench: Bench) -> None:
    """Of one of Celery's results, with the drop-in: the next ``then()`` is called, and ``forget()`` ends the watch."""
    app = Celery("interrupted", broker="memory://", backend=f"bgresults+{bench.server.url()}", set_as_current=False)
    writer = ResultWriter(bench.server)
    places = {"follow", "add_done_callback", "_append_callback", "_own_condition"}
    try:
        with ResultWatcher.from_celery(app) as watcher:
            assert watcher.wait_ready(WAIT)
            points = then_once(app.AsyncResult(new_id()), 0)
            numbers = [point.number for point in points if point.code.co_name in places]
            assert places == {points[number - 1].code.co_name for number in numbers}
            before = watcher.pending
            for number in numbers:
                place = f"after a signal at {points[number - 1]}"
                result, forgotten = app.AsyncResult(new_id()), app.AsyncResult(new_id())
                then_once(result, number)
                called = threading.Event()
                result.then(lambda _, called=called: called.set())
                writer.write(result.id, 1)
                assert called.wait(WAIT), f"the callback was not called, {place}"
                then_once(forgotten, number)
                forgotten.forget()
                wait_until(lambda: watcher.pending == before, f"the end of the watch, {place}")
    finally:
        writer.close()
        app.close()


def then_once(result: AsyncResult[object], number: int) -> list[Point]:
    """Call ``then()``, with a signal at a line of that, whose handler raises; returns the lines."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    tracer = LineTracer()
    try:
        with Interruption(tracer, number, interrupt), tracer.here():
            result.then(lambda _: None)
    except KeyboardInterrupt:
        pass
    return tracer.points
