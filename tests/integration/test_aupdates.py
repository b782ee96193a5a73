"""aupdates(): the states of a task as an asynchronous iterator; and what event loops may do to the drain thread."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from bgresults import BackendUnavailableError, ForkedError, ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20


async def until(predicate: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, predicate, what)


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """In a new event loop that ends, and that complains of nothing meanwhile."""
    complaints: list[Any] = []

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        return await asyncio.wait_for(scenario(), 2 * WAIT)

    outcome = asyncio.run(main())
    assert complaints == []
    return outcome


def test_the_states_until_the_end(watcher: ResultWatcher, writer: ResultWriter) -> None:
    async def scenario() -> list[tuple[str, Any]]:
        task_id = new_id()
        stream = watcher.aupdates(task_id, timeout=WAIT)
        # It watches already, before anybody asks for the first state.
        await until(lambda: len(writer.channels()) == 1, "the subscription")
        told = asyncio.create_task(_told(stream))
        for done in (1, 2):
            writer.write(task_id, {"done": done}, "PROGRESS")
        writer.write(task_id, "end")
        states = await told
        assert [state async for state in stream] == []
        return states

    assert run(scenario) == [("PROGRESS", {"done": 1}), ("PROGRESS", {"done": 2}), ("SUCCESS", "end")]


async def _told(stream: AsyncIterator[Any]) -> list[tuple[str, Any]]:
    return [(state.status, state.result) async for state in stream]


def test_a_failed_task_ends_with_its_state(watcher: ResultWatcher, writer: ResultWriter) -> None:
    async def scenario() -> None:
        task_id = new_id()
        writer.fail(task_id, ValueError("no"))
        (final,) = [state async for state in watcher.aupdates(task_id, timeout=WAIT)]
        assert final.status == "FAILURE"
        assert isinstance(final.result, ValueError)

    run(scenario)


def test_the_timeout_is_for_each_gap(watcher: ResultWatcher, writer: ResultWriter) -> None:
    async def scenario() -> None:
        task_id = new_id()
        stream = watcher.aupdates(task_id, timeout=0.05)
        for _ in range(2):
            with pytest.raises(TimeoutError, match=task_id):
                await anext(stream)
        writer.write(task_id, "end")
        # Not `pending`: a future leaves before anybody is told.
        await until(lambda: watcher.stats().resolved == 1, "the result")
        assert (await anext(stream)).result == "end"

    run(scenario)


def test_asked_for_without_a_name(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """Nobody but the awaited call itself holds the stream."""

    async def scenario() -> Any:
        task_id = new_id()
        first = asyncio.create_task(_first(watcher, task_id))
        await until(lambda: writer.channels() == {task_id}, "the subscription")
        gc.collect()
        writer.write(task_id, "end")
        return await first

    assert run(scenario) == "end"


async def _first(watcher: ResultWatcher, task_id: str) -> Any:
    return (await anext(watcher.aupdates(task_id, timeout=WAIT))).result


def test_a_library_error_is_raised(watcher: ResultWatcher) -> None:
    async def scenario() -> None:
        stream = watcher.aupdates(new_id())
        waiting = asyncio.create_task(_told(stream))
        await asyncio.sleep(0)
        await asyncio.to_thread(watcher.close)
        with pytest.raises(WatcherClosedError):
            await waiting
        assert await _told(stream) == []

    run(scenario)


def test_cancelling_the_task_ends_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """At once: nobody has to look at the cancelled task, or to collect garbage."""

    async def scenario() -> None:
        async def iterate() -> None:
            async for _ in watcher.aupdates(new_id()):
                pass

        task = asyncio.create_task(iterate())
        await until(lambda: len(writer.channels()) == 1, "the subscription")
        gc.collect()
        gc.disable()
        try:
            task.cancel()
            await until(lambda: watcher.pending == 0 and not writer.channels(), "the end of the watch")
        finally:
            gc.enable()
        assert task.cancelled()
        await until(lambda: watcher.stats().cancelled == 1, "the count")

    run(scenario)


def test_a_cancelled_wait_can_be_repeated(watcher: ResultWatcher, writer: ResultWriter) -> None:
    async def scenario() -> Any:
        task_id = new_id()
        stream = watcher.aupdates(task_id)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        writer.write(task_id, "end")
        return (await anext(stream)).result

    assert run(scenario) == "end"


def test_closing_or_dropping_it_ends_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    async def scenario() -> None:
        async with watcher.aupdates(new_id()) as closed:
            waiting = asyncio.create_task(_told(closed))
            dropped = watcher.aupdates(new_id())
            await until(lambda: len(writer.channels()) == 2, "the subscriptions")
        await closed.aclose()
        assert await waiting == [], "whoever waits for the next state learns of it"
        await until(lambda: len(writer.channels()) == 1, "the end of the one that was closed")
        del dropped
        await until(lambda: len(writer.channels()) == 0, "the end of the one that was dropped")
        assert watcher.pending == 0

    run(scenario)


def test_one_loop_and_one_coroutine(watcher: ResultWatcher, writer: ResultWriter) -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        watcher.aupdates(new_id())

    async def elsewhere(stream: Any) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await anext(stream)

    async def scenario() -> None:
        stream = watcher.aupdates(new_id())
        await asyncio.to_thread(lambda: asyncio.run(elsewhere(stream)))
        waiting = asyncio.create_task(_told(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another coroutine"):
            await anext(stream)
        await stream.aclose()
        assert await waiting == []

    run(scenario)


def test_bad_arguments(watcher: ResultWatcher) -> None:
    with pytest.raises(ValueError, match="timeout"):
        watcher.aupdates("id", timeout=-1)

    async def scenario() -> None:
        with pytest.raises(TypeError, match="task_id"):
            watcher.aupdates(5)  # type: ignore[arg-type]

    run(scenario)
    gc.collect()


def test_many_loops_at_once_and_no_thread_for_any(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """Four loops in four threads, fifty streams each: every stream gets all of its states, in order."""
    loops, streams = 4, 50
    ids = [new_ids(streams) for _ in range(loops)]
    threads_before = threading.active_count()

    async def gather(own: list[str]) -> list[list[tuple[str, Any]]]:
        return await asyncio.gather(*[_told(watcher.aupdates(task_id, timeout=WAIT)) for task_id in own])

    callers = [Caller(lambda own=own: asyncio.run(gather(own))) for own in ids]  # type: ignore[misc]
    wait_until(lambda: len(writer.channels()) == loops * streams, "the subscriptions")
    assert threading.active_count() == threads_before + loops + 1, "the loops' own, and the drain thread"
    for number in range(streams):
        for own in ids:
            writer.write(own[number], 1, "PROGRESS")
            writer.write(own[number], own[number])
    for caller, own in zip(callers, ids, strict=True):
        assert caller.outcome(WAIT) == [[("PROGRESS", 1), ("SUCCESS", task_id)] for task_id in own]
    assert watcher.stats().callback_errors == 0


@pytest.mark.parametrize("kind", ["aupdates", "wrap_future"])
def test_a_closed_loop_does_not_hurt_the_drain_thread(
    watcher: ResultWatcher, writer: ResultWriter, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A loop that was closed in the middle: its states go nowhere, and everybody else gets theirs."""
    caplog.set_level(logging.WARNING)
    task_id, other_id = new_ids(2)
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        if kind == "aupdates":
            return watcher.aupdates(task_id)
        return asyncio.wrap_future(watcher.watch(task_id))

    left = loop.run_until_complete(begin())
    wait_until(lambda: writer.channels() == {task_id}, "the subscription")
    loop.close()
    writer.write(task_id, 1, "PROGRESS")
    writer.write(task_id, 2)
    writer.write(other_id, "well")
    assert watcher.watch(other_id).result(WAIT) == "well"
    assert watcher.stats().thread_alive
    if kind == "aupdates":
        # Of wrap_future() it is asyncio's own callback that raises; that is caught, logged and counted.
        assert watcher.stats().callback_errors == 0
        assert caplog.records == []
    del left


def test_an_outage_in_the_middle(own_redis: RedisServer) -> None:
    """The stream goes on when the server is back; and with ``on_disconnect="fail"`` it ends with the reason."""

    async def scenario(waits: ResultWatcher, fails: ResultWatcher) -> Any:
        writer = ResultWriter(own_redis)
        task_id = new_id()
        told = asyncio.create_task(_told(waits.aupdates(task_id)))
        failed = asyncio.create_task(_told(fails.aupdates(new_id())))
        await until(lambda: len(writer.channels()) == 2, "the subscriptions")
        await asyncio.to_thread(own_redis.kill)
        with pytest.raises(BackendUnavailableError):
            await failed
        await asyncio.to_thread(own_redis.start)
        writer.write(task_id, "end")
        states = await told
        writer.close()
        return states

    quick = RetryPolicy(initial=0.01, maximum=0.05)
    with (
        ResultWatcher(own_redis.url(), retry=quick) as waits,
        ResultWatcher(own_redis.url(), retry=quick, on_disconnect="fail") as fails,
    ):
        assert run(lambda: scenario(waits, fails)) == [("SUCCESS", "end")]


def test_in_a_forked_child(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """A stream that was begun before the fork ends there with an error, and the parent's goes on."""
    task_id = new_id()
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        return watcher.aupdates(task_id)

    stream = loop.run_until_complete(begin())
    wait_until(lambda: writer.channels() == {task_id}, "the subscription")

    def child() -> None:
        advancing = stream.__anext__()
        with pytest.raises(ForkedError):
            # One step of the coroutine, without a loop: it must not get as far as to wait for anything.
            advancing.send(None)

    assert run_in_child(child) == 0
    writer.write(task_id, "end")

    async def finish() -> Any:
        return await _told(stream)

    assert loop.run_until_complete(finish()) == [("SUCCESS", "end")]
    loop.close()
