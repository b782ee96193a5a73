"""What the standard library does with futures works with watched ones."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor
from typing import Any

import pytest

from bgresults import ResultFuture, ResultWatcher, RetryPolicy
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id

SOON = 20.0


class FalsyError(Exception):
    """Looks like nothing to ``if exception:``."""

    def __bool__(self) -> bool:
        return False


class PlainError(Exception):
    """Unlike those of builtins, its instances take weak references."""


@pytest.fixture
def futures(watcher: ResultWatcher) -> list[ResultFuture]:
    """Three pending ones."""
    return watcher.watch_many([new_id() for _ in range(3)])


class TestWait:
    def test_all_completed(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        waiter = Caller(lambda: concurrent.futures.wait(futures, SOON, ALL_COMPLETED))
        waiter.until_blocked()
        for future in futures:
            writer.write(future.task_id, "x")
        done, not_done = waiter.outcome()
        assert (done, not_done) == (set(futures), set())

    def test_first_completed(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        waiter = Caller(lambda: concurrent.futures.wait(futures, SOON, FIRST_COMPLETED))
        waiter.until_blocked()
        writer.write(futures[1].task_id, "x")
        assert waiter.outcome() == ({futures[1]}, {futures[0], futures[2]})

    def test_first_exception(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        waiter = Caller(lambda: concurrent.futures.wait(futures, SOON, FIRST_EXCEPTION))
        waiter.until_blocked()
        writer.write(futures[0].task_id, "x")
        wait_until(futures[0].done, "the value")
        assert waiter.thread.is_alive(), "a value is no exception"
        writer.fail(futures[1].task_id, ValueError("x"))
        assert waiter.outcome() == ({futures[0], futures[1]}, {futures[2]})

    def test_time_passes(self, futures: list[ResultFuture]) -> None:
        assert concurrent.futures.wait(futures, 0.05) == (set(), set(futures))

    def test_done_ones_are_not_waited_for(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        writer.write(futures[0].task_id, "x")
        wait_until(futures[0].done, "the value")
        done, _ = concurrent.futures.wait(futures, 0, FIRST_COMPLETED)
        assert done == {futures[0]}

    def test_cancel_wakes(self, futures: list[ResultFuture]) -> None:
        waiter = Caller(lambda: concurrent.futures.wait(futures, SOON, FIRST_COMPLETED))
        waiter.until_blocked()
        futures[0].cancel()
        assert waiter.outcome()[0] == {futures[0]}


class TestAsCompleted:
    def test_in_the_order_of_their_ends(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        order = [futures[2], futures[0], futures[1]]
        seen: list[Future[Any]] = []
        everything: list[Future[Any]] = [*futures]
        waiter = Caller(lambda: seen.extend(concurrent.futures.as_completed(everything, SOON)))
        waiter.until_blocked()
        for number, future in enumerate(order):
            writer.write(future.task_id, number)
            wait_until(future.done, "the value")
        waiter.outcome()
        assert [future.result() for future in seen] == [0, 1, 2]

    def test_time_passes(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        writer.write(futures[0].task_id, "x")
        wait_until(futures[0].done, "the value")
        everything: list[Future[Any]] = [*futures]
        seen: list[Future[Any]] = []
        with pytest.raises(concurrent.futures.TimeoutError, match=r"2 .*unfinished"):
            seen.extend(future for future in concurrent.futures.as_completed(everything, 0.05))
        assert seen == [futures[0]]

    def test_together_with_an_executors(self, futures: list[ResultFuture], writer: ResultWriter) -> None:
        with ThreadPoolExecutor(2) as executor:
            theirs = [executor.submit(pow, 2, power) for power in (3, 4)]
            for number, future in enumerate(futures):
                writer.write(future.task_id, number)
            everything: list[Future[Any]] = [*futures, *theirs]
            values = {future.result() for future in concurrent.futures.as_completed(everything, SOON)}
            assert values == {0, 1, 2, 8, 16}
            assert concurrent.futures.wait(everything, SOON).not_done == set()


class TestWithoutAConnection:
    """An owner's ``cancel()`` is complete in the caller: it waits for no thread that is busy connecting."""

    @pytest.fixture
    def nowhere(self) -> Any:
        with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0", retry=RetryPolicy(initial=60, maximum=60)) as watcher:
            yield watcher

    def test_cancel_wakes_wait(self, nowhere: ResultWatcher) -> None:
        future = nowhere.watch("a")
        waiter = Caller(lambda: concurrent.futures.wait([future], SOON))
        waiter.until_blocked()
        future.cancel()
        assert waiter.outcome() == ({future}, set())

    def test_cancel_wakes_as_completed(self, nowhere: ResultWatcher) -> None:
        future: Future[Any] = nowhere.watch("a")
        waiter = Caller(lambda: list(concurrent.futures.as_completed([future], SOON)))
        waiter.until_blocked()
        future.cancel()
        assert waiter.outcome() == [future]

    def test_cancel_runs_callbacks_in_the_caller(self, nowhere: ResultWatcher) -> None:
        future, threads = nowhere.watch("a"), []
        future.add_done_callback(lambda _ended: threads.append(threading.get_ident()))
        future.cancel()
        assert threads == [threading.get_ident()]


class TestAsyncio:
    def test_value(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        async def scenario() -> Any:
            future = asyncio.wrap_future(watcher.watch("a"))
            await asyncio.to_thread(writer.write, "a", "value")
            return await asyncio.wait_for(future, SOON)

        assert asyncio.run(scenario()) == "value"

    def test_exception(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        async def scenario() -> Any:
            future = asyncio.wrap_future(watcher.watch("a"))
            await asyncio.to_thread(writer.fail, "a", KeyError("k"))
            return await asyncio.wait_for(future, SOON)

        with pytest.raises(KeyError, match="k"):
            asyncio.run(scenario())

    def test_stop_iteration_does_not_hang(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """asyncio refuses StopIteration inside a callback, and the wrapper would stay pending (pitfall 39c)."""

        async def scenario() -> Any:
            future = asyncio.wrap_future(watcher.watch("a"))
            await asyncio.to_thread(writer.fail, "a", StopIteration("end"))
            return await asyncio.wait_for(future, SOON)

        with pytest.raises(Exception, match="end") as caught:
            asyncio.run(scenario())
        assert not isinstance(caught.value, (StopIteration, asyncio.TimeoutError))

    def test_cancel_from_the_asyncio_side(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        async def scenario() -> ResultFuture:
            watched = watcher.watch("a")
            wrapped = asyncio.wrap_future(watched)
            wrapped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrapped
            return watched

        assert asyncio.run(scenario()).cancelled()
        assert watcher.pending == 0
        wait_until(lambda: not writer.channels(), "the subscription to end")

    def test_a_waiting_task_is_cancelled(self, watcher: ResultWatcher) -> None:
        async def scenario() -> ResultFuture:
            watched = watcher.watch("a")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(watched), 0.05)
            return watched

        assert asyncio.run(scenario()).cancelled()


class TestObjects:
    def test_in_sets_and_dicts(self, watcher: ResultWatcher) -> None:
        first, second = watcher.watch("a"), watcher.watch("a")
        assert len({first, second, first}) == 2
        assert {first: 1, second: 2}[second] == 2

    def test_a_falsy_exception_is_raised(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """Some versions of the standard library ask ``if exception:``: such a future would return None."""
        future = watcher.watch("a")
        writer.fail("a", FalsyError("nothing"))
        with pytest.raises(Exception, match="nothing") as caught:
            future.result(SOON)
        assert type(caught.value).__name__ == "FalsyError"
        assert future.exception() is caught.value

    def test_a_falsy_exception_set_by_hand_is_raised(self, watcher: ResultWatcher) -> None:
        future = watcher.watch("a")
        future.set_exception(FalsyError("nothing"))
        with pytest.raises(FalsyError):
            future.result(0)

    def test_an_exception_makes_no_reference_cycle(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """Exception → traceback → frame → future → exception: one such cycle per failed request, until a collection."""

        def scenario() -> tuple[weakref.ref[ResultFuture], weakref.ref[BaseException]]:
            # This frame is part of the traceback too: it must not know the future by name.
            box = [watcher.watch("a")]
            reference = weakref.ref(box[0])
            writer.fail("a", PlainError("x"))
            try:
                box.pop().result(SOON)
            except PlainError as error:
                return reference, weakref.ref(error)
            raise AssertionError("no exception")

        gc.collect()
        gc.disable()
        try:
            future, error = scenario()
            wait_until(lambda: future() is None and error() is None, "both to die without the collector")
        finally:
            gc.enable()

    @pytest.mark.parametrize("waited_for", [True, False])
    def test_a_resolved_future_dies_with_its_last_reference(
        self, watcher: ResultWatcher, writer: ResultWriter, waited_for: bool
    ) -> None:
        gc.collect()
        gc.disable()
        try:
            future = watcher.watch("a")
            if waited_for:
                future.add_done_callback(lambda _ended: None)
            writer.write("a", [])
            future.result(SOON)
            reference = weakref.ref(future)
            del future
            wait_until(lambda: reference() is None, "the future to die without the collector")
        finally:
            gc.enable()
