"""Exceptions out of signal handlers, threads that cannot be started, callbacks that misbehave: nothing stays behind."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import BackendUnavailableError, ForkedError, ResultWatcher, TaskMeta, TooManyPendingError
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20


def drainers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("bgresults-")]


def works(watcher: ResultWatcher, writer: ResultWriter) -> bool:
    future = watcher.watch(new_id())
    writer.write(future.task_id, "works")
    return bool(future.result(WAIT) == "works")


class TestStart:
    """Between the wish for a thread and the thread."""

    def replace_start(self, monkeypatch: pytest.MonkeyPatch, start: Callable[[threading.Thread], None]) -> None:
        original = threading.Thread.start

        def replaced(thread: threading.Thread) -> None:
            monkeypatch.setattr(threading.Thread, "start", original)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", replaced)

    def test_no_thread_to_be_had(
        self, watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.replace_start(monkeypatch, refuse)
        error = watcher.watch(new_id()).exception(0)
        assert isinstance(error, BackendUnavailableError)
        assert "can't start new thread" in str(error)
        assert watcher.pending == 0
        assert works(watcher, writer)

    @pytest.mark.parametrize("started", [False, True])
    def test_interrupted(
        self, watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch, started: bool
    ) -> None:
        def interrupt(thread: threading.Thread) -> None:
            if started:
                thread.start()
            raise KeyboardInterrupt

        self.replace_start(monkeypatch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watcher.watch(new_id())
        assert watcher.pending == 0
        assert works(watcher, writer)
        wait_until(lambda: len(drainers()) == 1, "one thread alone")

    def test_a_signal_handler_that_watches(
        self, watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner: list[Any] = []

        def handle(thread: threading.Thread) -> None:
            inner.append(watcher.watch(new_id()))
            thread.start()

        self.replace_start(monkeypatch, handle)
        outer = watcher.watch(new_id())
        for future in (outer, inner[0]):
            writer.write(future.task_id, 1)
            assert future.result(WAIT) == 1
        wait_until(lambda: len(drainers()) == 1, "one thread alone")


class TestKeyboardInterrupt:
    def test_in_the_middle_of_a_watch(
        self, watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupting(deque[Any]):
            def append(self, item: Any) -> None:
                monkeypatch.undo()
                raise KeyboardInterrupt

        assert works(watcher, writer)
        monkeypatch.setattr(watcher._session, "commands", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            watcher.watch(new_id(), on_update=lambda _: None)
        assert watcher.pending == 0
        assert works(watcher, writer)

    def test_in_the_middle_of_a_cancel(
        self, watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        future = watcher.watch(new_id())
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
        forget = watcher._forget

        def interrupted(gone: Any) -> None:
            forget(gone)
            raise KeyboardInterrupt

        monkeypatch.setattr(watcher, "_forget", interrupted)
        with pytest.raises(KeyboardInterrupt):
            future.cancel()
        assert future.cancelled()
        assert watcher.pending == 0
        wait_until(lambda: not writer.channels(), "the end of the subscription")


class TestTakenBack:
    def test_ids_that_the_thread_has_asked_for_already(
        self, redis_server: RedisServer, key_prefix: str, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler raises in the call, after the thread has subscribed."""
        with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as watcher:
            kept = watcher.watch_many(new_ids(5))
            wait_until(lambda: len(writer.channels()) == 5, "the subscriptions")

            def interrupted() -> None:
                watcher._session.wake()
                wait_until(lambda: len(writer.channels()) == 8, "the subscriptions of what will be taken back")
                raise KeyboardInterrupt

            monkeypatch.setattr(watcher._session, "current_refusal", interrupted)
            with pytest.raises(KeyboardInterrupt):
                watcher.watch_many(new_ids(3))
            wait_until(lambda: len(writer.channels()) == 5, "the end of the three")
            assert watcher.stats().watched == len(kept)

    @pytest.fixture
    def hasty(self) -> Iterator[None]:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        yield
        sys.setswitchinterval(interval)

    @pytest.mark.usefixtures("hasty")
    def test_many(self, redis_server: RedisServer, key_prefix: str, writer: ResultWriter) -> None:
        with ResultWatcher(redis_server.url(), key_prefix=key_prefix, max_pending=10) as watcher:
            kept = watcher.watch_many(new_ids(10))
            for _ in range(300):
                with pytest.raises(TooManyPendingError):
                    watcher.watch_many(new_ids(5))
            wait_until(lambda: len(writer.channels()) == 10, "the ten alone")
            assert watcher.pending == len(kept)


class TestWatchedAgain:
    """A new watch of an id reads what is stored, whatever is subscribed already."""

    def test_in_the_same_turn_as_a_cancel(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        held, release = threading.Event(), threading.Event()

        def hold(_: Any) -> None:
            held.set()
            release.wait(WAIT)

        task_id, other = new_ids(2)
        first, holder = watcher.watch(task_id), watcher.watch(other)
        wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
        holder.add_done_callback(hold)
        writer.write(other, 1)
        assert held.wait(WAIT)
        # Stored without a message: only a read can find it.
        writer.store(task_id, "stored")
        assert first.cancel()
        again = watcher.watch(task_id)
        release.set()
        assert again.result(WAIT) == "stored"

    def test_beside_one_that_waits(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        task_id = new_id()
        first = watcher.watch(task_id)
        wait_until(lambda: writer.channels() and watcher.stats().state == "draining", "the subscription")
        writer.store(task_id, "stored")
        assert watcher.watch(task_id).result(WAIT) == "stored"
        assert first.result(WAIT) == "stored"


class TestCallbacks:
    def test_that_change_what_they_are_given(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        def clear(meta: TaskMeta) -> None:
            meta.raw.clear()  # type: ignore[attr-defined]

        future = watcher.watch(new_id(), on_update=clear)
        writer.write(future.task_id, 5)
        assert future.result(WAIT) == 5
        assert works(watcher, writer)
        wait_until(lambda: not writer.channels(), "no channel")

    def test_beside_a_logging_handler_that_raises(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        class Raising(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise OSError("disk full")

        handler = Raising()
        loggers = [logging.getLogger("concurrent.futures"), logging.getLogger("bgresults")]
        for logger in loggers:
            logger.addHandler(handler)
        try:
            future = watcher.watch(new_id())
            future.add_done_callback(lambda _: 1 / 0)
            writer.write(future.task_id, 1)
            assert works(watcher, writer)
            # What is read from the store may come after a later message.
            wait_until(lambda: watcher.stats().callback_errors == 1, "the callback")
        finally:
            for logger in loggers:
                logger.removeHandler(handler)

    def test_with_attributes_of_their_own(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        class Odd:
            def __call__(self, _: Any) -> None:
                threading.Event().wait(0.15)

            def __getattr__(self, name: str) -> Any:
                raise ZeroDivisionError(name)

        future = watcher.watch(new_id())
        future.add_done_callback(Odd())
        writer.write(future.task_id, 1)
        assert works(watcher, writer)


def test_a_stream_in_a_forked_child(watcher: ResultWatcher, writer: ResultWriter) -> None:
    stream = watcher.updates(new_id())
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")

    def child() -> None:
        with pytest.raises(ForkedError):
            next(stream)

    assert run_in_child(child) == 0
    stream.close()
