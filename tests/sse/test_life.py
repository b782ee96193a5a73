"""How a stream begins, waits and ends: arguments, heartbeats, outages, reasons, and whoever leaves early."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import ResultWatcher, RetryPolicy, TooManyPendingError, WatcherClosedError, WouldDeadlockError
from bgresults.sse import AsyncEventStream, EventStream, asse, saw_end, sse
from bgresults.testing import RedisServer
from tests.sse.conftest import Follow
from tests.sse.reading import KINDS, Event, Follower, chunks_of, parsed
from tests.support.calls import Caller
from tests.support.forks import run_in_child
from tests.support.outages import QUICK
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.waiting import wait_until

PATIENCE = 30


def until_subscribed(writer: ResultWriter, *task_ids: str) -> None:
    wait_until(lambda: writer.channels() == set(task_ids), "the subscriptions", PATIENCE)


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            ({"heartbeat": 0}, "heartbeat"),
            ({"heartbeat": None}, "heartbeat"),
            ({"heartbeat": float("nan")}, "heartbeat"),
            ({"retry": -1}, "retry"),
            ({"retry": "3"}, "retry"),
            ({"timeout": 0}, "timeout"),
            ({"timeout": True}, "timeout"),
            ({"last_event_id": 17}, "last_event_id"),
            ({"result": "text"}, "result"),
            ({"task_id": ""}, "task_id"),
            ({"task_id": 17}, "task_id"),
            ({"watcher": "redis://"}, "watcher"),
            ({"watcher": None}, "watcher"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("make", [sse, asse])
    def test_what_makes_no_sense_is_said_at_once(
        self, watcher: ResultWatcher, make: Callable[..., Any], wrong: dict[str, Any], complaint: str
    ) -> None:
        arguments = {"watcher": watcher, "task_id": new_id(), **wrong}
        with pytest.raises((TypeError, ValueError), match=complaint):
            make(arguments.pop("watcher"), arguments.pop("task_id"), **arguments)
        assert watcher.stats().watched == 0
        assert not watcher.stats().thread_alive

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_closed_watcher_and_a_full_one(self, redis_url: str, kind: str) -> None:
        with ResultWatcher(redis_url, max_pending=1) as watcher:
            future = watcher.watch(new_id())
            with pytest.raises(TooManyPendingError):
                Follower(kind, watcher, new_id())
            assert future.cancel()
        with pytest.raises(WatcherClosedError):
            Follower(kind, watcher, new_id())
        with pytest.raises(WatcherClosedError):
            asse(watcher, new_id())
        gc.collect()

    def test_ids_as_a_watcher_takes_them(self, follow: Follow, writer: ResultWriter) -> None:
        import uuid

        task_id = uuid.uuid4()
        writer.write(str(task_id), 1)
        assert follow(task_id).event().json["task_id"] == str(task_id)


class TestHeartbeats:
    def test_after_silence(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        stream = follow(task_id, heartbeat=0.05)
        assert [next(stream).name for _ in range(4)] == ["[retry]", "[comment]", "[comment]", "[comment]"]
        until_subscribed(writer, task_id)
        writer.write(task_id, 1)
        assert stream.event().name == "state"

    def test_they_are_that_far_apart(self, follow: Follow) -> None:
        began = time.monotonic()
        stream = follow(new_id(), heartbeat=0.2)
        next(stream)
        assert [next(stream).name for _ in range(3)] == ["[comment]"] * 3
        assert time.monotonic() - began > 0.59


class TestReasons:
    """Why a stream ends before its task does."""

    def test_timeout(self, follow: Follow, writer: ResultWriter, watcher: ResultWatcher) -> None:
        task_id = new_id()
        writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
        stream = follow(task_id, timeout=3.0, heartbeat=0.1)
        state, end = stream.events()
        assert end.name == "end"
        assert end.json == {**state.json, "reason": "timeout"}
        assert watcher.pending == 0
        wait_until(lambda: not writer.channels(), "the end of the subscription")

    def test_nothing_was_heard(self, follow: Follow) -> None:
        task_id = new_id()
        (end,) = follow(task_id, timeout=0.05).events()
        assert end.json == {
            "task_id": task_id,
            "state": "PENDING",
            "complete": False,
            "success": None,
            "progress": {"pending": True, "current": 0, "total": 100, "percent": 0, "description": ""},
            "result": None,
            "reason": "timeout",
        }
        assert saw_end(end.last_event_id)
        assert not saw_end("")
        assert not saw_end(None)

    def test_closed(self, follow: Follow, redis_url: str) -> None:
        watcher = ResultWatcher(redis_url)
        stream = follow(new_id(), watcher)
        watcher.close()
        (end,) = stream.events()
        assert (end.name, end.json["reason"]) == ("end", "closed")

    def test_expired(self, follow: Follow, redis_url: str) -> None:
        with ResultWatcher(redis_url, default_lifetime=0.1) as watcher:
            (end,) = follow(new_id(), watcher).events()
        assert end.json["reason"] == "expired"

    def test_unreadable(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.write_body(task_id, b"{")
        (end,) = follow(task_id).events()
        assert end.json["reason"] == "unreadable"

    def test_unavailable(self, follow: Follow, own_redis: RedisServer) -> None:
        with ResultWatcher(own_redis.url(), on_disconnect="fail", retry=QUICK) as watcher:
            stream = follow(new_id(), watcher)
            assert watcher.wait_ready(PATIENCE)
            own_redis.kill()
            *news, end = stream.events()
        assert [event.name for event in news] in ([], ["connection"])
        assert end.json["reason"] == "unavailable"

    @pytest.mark.parametrize("kind", KINDS)
    def test_forked(self, watcher: ResultWatcher, writer: ResultWriter, kind: str) -> None:
        """In the child; the parent's goes on."""
        task_id = new_id()
        with Follower(kind, watcher, task_id) as stream:
            assert next(stream).name == "[retry]"
            until_subscribed(writer, task_id)

            def child() -> None:
                if kind == "sse":
                    chunk = next(stream.stream)
                else:
                    with pytest.raises(StopIteration) as stop:
                        # One step, without a loop: it must not get as far as to wait.
                        anext(stream.stream).send(None)
                    chunk = stop.value.value
                (end,) = parsed([chunk])
                assert end.json["reason"] == "forked"

            assert run_in_child(child) == 0
            writer.write(task_id, 1)
            assert [event.name for event in stream.events()] == ["state", "end"]


class TestOutages:
    def test_they_are_told_and_the_stream_goes_on(self, follow: Follow, own_redis: RedisServer) -> None:
        task_id = new_id()
        with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
            stream = follow(task_id, watcher)
            assert watcher.wait_ready(PATIENCE)
            own_redis.kill()
            assert self._next(stream) == "reconnecting"
            late = follow(new_id(), watcher)
            assert self._next(late) == "reconnecting", "also to whoever comes in the middle of it"
            own_redis.start()
            assert self._next(stream) == "connected"
            assert self._next(late) == "connected"
            writer = ResultWriter(own_redis)
            writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
            assert stream.event().name == "state"
            writer.write(task_id, 1)
            assert [event.name for event in stream.events()] == ["state", "end"]
            writer.close()

    @staticmethod
    def _next(stream: Follower) -> Any:
        event = stream.event()
        assert event == Event("connection", event.data, event.last_event_id)
        return event.json["state"]

    def test_before_the_first_connection(self, follow: Follow, own_redis: RedisServer) -> None:
        own_redis.kill()
        with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
            stream = follow(new_id(), watcher)
            assert self._next(stream) == "reconnecting"
            own_redis.start()
            assert self._next(stream) == "connected"

    def test_it_keeps_the_id_of_the_last_state(self, follow: Follow, own_redis: RedisServer) -> None:
        task_id = new_id()
        writer = ResultWriter(own_redis)
        writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
        writer.close()
        with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
            stream = follow(task_id, watcher)
            state = stream.event()
            own_redis.kill()
            assert stream.event().last_event_id == state.last_event_id

    def test_nobody_is_told_who_has_left(self, follow: Follow, own_redis: RedisServer) -> None:
        """Neither closed nor dropped streams stay known to the watcher."""
        with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
            stays = follow(new_id(), watcher)
            # What other tests have left for the garbage collector would go in between.
            gc.collect()
            before = _queues()
            for number in range(20):
                stream = sse(watcher, new_id())
                if number % 2:
                    stream.close()
            del stream
            wait_until(lambda: watcher.pending == 1 and _queues() == before, "the end of the others")
            own_redis.kill()
            assert self._next(stays) == "reconnecting"


def _queues() -> int:
    """What a listener would keep."""
    return sum(type(item) is queue.SimpleQueue for item in gc.get_objects())


class TestLeaving:
    def test_close_ends_the_watch_at_once(self, follow: Follow, writer: ResultWriter, watcher: ResultWatcher) -> None:
        streams = [follow(task_id) for task_id in new_ids(2)]
        wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
        next(streams[1])
        for stream in streams:
            stream.close()
            stream.stream.close()
        assert watcher.pending == 0
        wait_until(lambda: not writer.channels(), "the end of the subscriptions")

    def test_close_from_elsewhere_ends_the_iteration(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """As a server under ASGI closes a response in a thread."""
        task_id = new_id()
        for kind in KINDS:
            with Follower(kind, watcher, task_id) as stream:
                waiting = Caller(stream.events)
                until_subscribed(writer, task_id)
                stream.stream.close()
                assert waiting.outcome(PATIENCE) == []
                wait_until(lambda: not writer.channels(), "the end of the subscription")

    def test_dropping_ends_the_watch(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        stream = sse(watcher, new_id())
        next(stream)
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
        del stream
        gc.collect()
        wait_until(lambda: not writer.channels() and watcher.pending == 0, "the end of the subscription")

    def test_as_context_managers(self, watcher: ResultWatcher) -> None:
        async def scenario() -> None:
            async with asse(watcher, new_id()) as stream:
                assert isinstance(stream, AsyncEventStream)
                assert await anext(stream)
                assert watcher.pending == 1
            assert await chunks_of(stream) == b""

        asyncio.run(scenario())
        with sse(watcher, new_id()) as stream:
            assert isinstance(stream, EventStream)
            assert iter(stream) is stream
            assert watcher.pending == 1
        assert list(stream) == []
        assert watcher.pending == 0

    def test_cancelling_ends_the_watch_at_once(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """Nobody has to drop the stream, or to collect garbage."""

        async def scenario() -> None:
            stream = asse(watcher, new_id())
            task = asyncio.create_task(chunks_of(stream))
            await asyncio.to_thread(wait_until, lambda: len(writer.channels()) == 1, "the subscription")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert watcher.pending == 0
            await asyncio.to_thread(wait_until, lambda: not writer.channels(), "the end of the subscription")
            assert await chunks_of(stream) == b"", "it has ended"

        asyncio.run(scenario())

    def test_made_without_a_loop_and_never_asked(self, watcher: ResultWatcher) -> None:
        """A response that a middleware threw away."""
        asse(watcher, new_id()).close()
        asse(watcher, new_id())
        assert watcher.stats().watched == 0

    def test_made_without_a_loop(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """In a synchronous view under ASGI: its thread has none."""
        task_id = new_id()
        stream = asse(watcher, task_id)
        writer.write(task_id, 1)
        sent = asyncio.run(chunks_of(stream))
        assert [event.name for event in parsed([sent])] == ["[retry]", "state", "end"]

    def test_made_without_a_loop_and_closed_meanwhile(self, redis_url: str) -> None:
        with ResultWatcher(redis_url) as watcher:
            stream = asse(watcher, new_id())
        *_, end = parsed([asyncio.run(chunks_of(stream))])
        assert end.json["reason"] == "closed"

    def test_in_a_callback(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """Only the drain thread could bring what it would wait for."""
        task_id, other = new_ids(2)
        stream = sse(watcher, other)
        next(stream)
        raised: list[BaseException] = []

        def callback(_future: object) -> None:
            try:
                next(stream)
            except BaseException as error:
                raised.append(error)

        future = watcher.watch(task_id)
        future.add_done_callback(callback)
        writer.write(task_id, 1)
        wait_until(lambda: raised, "the callback")
        assert isinstance(raised[0], WouldDeadlockError)
        stream.close()


@pytest.fixture
def many(watcher: ResultWatcher) -> Iterator[list[EventStream]]:
    """Fifty streams, each with a thread that waits for its next event."""
    streams = [sse(watcher, new_id(), heartbeat=600) for _ in range(50)]
    threads = [threading.Thread(target=list, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    yield streams
    for stream in streams:
        stream.close()
    for thread in threads:
        thread.join(PATIENCE)


def test_fifty_open_streams_cost_nothing_while_nothing_happens(
    many: list[EventStream], writer: ResultWriter, redis_server: RedisServer
) -> None:
    wait_until(lambda: len(writer.channels()) == len(many), "the subscriptions")
    before = time.process_time()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        time.sleep(0.5)
    # Fifty threads that looked around ten times a second would take several times as much.
    assert time.process_time() - before < 0.2
    with redis_server.client() as client:
        subscribers = [item for item in client.client_list() if int(item["sub"]) > 0]
        assert len([item for item in subscribers if int(item["sub"]) == len(many)]) == 1


def test_a_patient_retry_policy_does_not_delay_the_news(own_redis: RedisServer) -> None:
    """That the connection is lost is told when it is, and not when the next attempt is made."""
    with ResultWatcher(own_redis.url(), retry=RetryPolicy(initial=60, maximum=60)) as watcher:
        stream = sse(watcher, new_id())
        assert watcher.wait_ready(PATIENCE)
        waiting = Caller(lambda: next(event for event in parsed(stream) if event.name == "connection"))
        own_redis.kill()
        assert waiting.outcome(10).json == {"state": "reconnecting"}
        stream.close()
