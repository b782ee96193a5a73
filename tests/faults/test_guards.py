"""Guards that nobody would miss for years: each test brings about the one moment in which its guard is needed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import pytest

from bgresults import (
    BackendUnavailableError,
    RedisOptions,
    ResultWatcher,
    TaskMeta,
    WatcherClosedError,
    WatchExpiredError,
)
from bgresults.consumers.redis import readers
from bgresults.forking import leaf_lock
from bgresults.pending import PendingResults
from bgresults.polling import wait_readable
from bgresults.testing import FaultProxy, RedisServer
from bgresults.wakeup import Wakeup
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.consumers import OWN_PARSER
from tests.support.forks import run_in_child
from tests.support.frames import innermost_frame
from tests.support.logs import Told
from tests.support.outages import PATIENCE, through
from tests.support.results import ResultWriter, new_id, new_ids


class TestFork:
    def test_in_the_middle_of_making_a_socket(
        self, watcher: ResultWatcher, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Made, and not remembered yet: a fork has to wait, or the child keeps a descriptor that it does not know."""
        made, go_on, forked = threading.Event(), threading.Event(), threading.Event()
        links: list[str] = []

        class SlowlyMade(socket.socket):
            def __init__(self, *arguments: Any, **settings: Any) -> None:
                super().__init__(*arguments, **settings)
                if threading.current_thread().name.startswith("bgresults-") and not made.is_set():
                    links.append(os.readlink(f"/proc/self/fd/{self.fileno()}"))
                    made.set()
                    assert go_on.wait(PATIENCE)

        def is_forking() -> bool:
            frame = innermost_frame(threading.main_thread().ident)
            return forked.is_set() or (frame is not None and frame.f_code.co_name == "_before")

        def release() -> None:
            wait_until(is_forking, "the fork")
            go_on.set()

        def child() -> None:
            open_ones = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
            assert links[0] not in {os.readlink(path) for path in open_ones if os.path.lexists(path)}

        monkeypatch.setattr(socket, "socket", SlowlyMade)
        watcher.watch(new_id())
        assert made.wait(PATIENCE)
        releasing = Caller(release)
        code = run_in_child(child)
        forked.set()
        releasing.outcome()
        assert code == 0, "the child has the parent's socket; its traceback is on stderr"
        assert watcher.wait_ready(PATIENCE)

    def test_in_a_callback_that_others_follow(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """The child is the drain thread, with results of the parent's in its hands: it must not deliver them."""
        incoming, outgoing = os.pipe()
        children: list[int] = []

        def fork(_: Future[Any]) -> None:
            pid = os.fork()
            if pid:
                children.append(pid)

        future = watcher.watch(new_id())
        future.add_done_callback(fork)
        future.add_done_callback(lambda _: os.write(outgoing, b"called in %d\n" % os.getpid()))
        writer.write(future.task_id, 1)
        wait_until(lambda: children, "the fork")
        wait_until(lambda: os.waitpid(children[0], os.WNOHANG)[0], "the end of the child")
        other = watcher.watch(new_id())
        writer.write(other.task_id, 2)
        assert other.result(PATIENCE) == 2
        os.close(outgoing)
        with open(incoming, "rb") as calls:
            assert calls.read() == b"called in %d\n" % os.getpid()


class TestLock:
    def test_a_signal_handler_inside_the_locked_section(self, watcher: ResultWatcher) -> None:
        """It runs in the thread that holds the lock, and may do with futures whatever it likes."""

        def child() -> None:
            signal.alarm(5)
            first, second = watcher.watch("a"), watcher.watch("a")
            futures = [first, second]

            def handle(*_: object) -> None:
                assert first.cancel()
                futures.append(watcher.watch("a"))
                second.add_done_callback(lambda _: None)

            signal.signal(signal.SIGUSR1, handle)
            with leaf_lock():
                signal.raise_signal(signal.SIGUSR1)
            assert len(futures) == 3
            assert watcher.pending == 2

        assert run_in_child(child) == 0, "it hung, if the code is that of an alarm"

    def test_dropping_a_future_while_it_is_held(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        """The weakref callback may run anywhere, in the middle of anything: it waits for nobody."""
        futures = watcher.watch_many(new_ids(3))
        wait_until(lambda: len(writer.channels()) == 3, "the subscriptions")
        with leaf_lock():
            Caller(futures.clear).outcome(5)
        wait_until(lambda: not writer.channels(), "the end of the subscriptions")
        assert watcher.stats().dropped == 3

    def test_a_future_that_was_cancelled_while_it_was_being_resolved(
        self, watcher: ResultWatcher, writer: ResultWriter
    ) -> None:
        """The drain thread has taken it already. Whoever was first has the last word, and callbacks run once."""
        cancelled: list[bool] = []
        called: list[bool] = []

        def cancel(_: TaskMeta) -> None:
            cancelled.append(future.cancel())

        future = watcher.watch(new_id(), on_update=cancel)
        future.add_done_callback(lambda ended: called.append(ended.cancelled()))
        # Published, and not only stored: messages come in order, and one overtakes what is still to be read.
        wait_until(lambda: future.task_id in writer.channels(), "the subscription")
        writer.write(future.task_id, 1)
        other = watcher.watch(new_id())
        writer.write(other.task_id, 2)
        assert other.result(PATIENCE) == 2
        assert (cancelled, called) == ([True], [True])
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
        # Counted a moment after whoever waits for it is told.
        wait_until(lambda: watcher.stats().cancelled + watcher.stats().resolved == 2, "both to be counted")
        assert watcher.stats().resolved == 1


def test_closing_in_the_middle_of_a_watch(watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Insert first, look second: otherwise nobody would ever end this future."""
    add = PendingResults.add

    def closed_meanwhile(pending: PendingResults, ref: Any) -> None:
        watcher.close()
        add(pending, ref)

    assert watcher.wait_ready(PATIENCE)
    monkeypatch.setattr(PendingResults, "add", closed_meanwhile)
    with pytest.raises(WatcherClosedError):
        watcher.watch(new_id())
    assert watcher.pending == 0


def test_the_thread_dies(
    watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    """It never should. If it does, who waits hears of it, and who comes next, and the log; then it starts anew."""
    take = PendingResults.take

    def die(_: PendingResults, task_id: str) -> Any:
        monkeypatch.setattr(PendingResults, "take", take)
        raise MemoryError("no room for another one")

    futures = watcher.watch_many(new_ids(3))
    wait_until(lambda: len(writer.channels()) == 3, "the subscriptions")
    monkeypatch.setattr(PendingResults, "take", die)
    writer.publish(futures[0].task_id, 1)
    for future in futures:
        error = future.exception(PATIENCE)
        assert isinstance(error, BackendUnavailableError)
        assert "the drain thread of watcher 'redis' died of MemoryError: no room" in str(error)
    wait_until(lambda: watcher.stats().state == "failed", "the end of the thread")
    told.just("CRITICAL")
    error = watcher.watch(new_id()).exception(0)
    assert "died of MemoryError" in str(error)
    again = watcher.watch(new_id())
    writer.write(again.task_id, "a new thread")
    assert again.result(PATIENCE) == "a new thread"


def test_wait_ready_after_the_thread_died(
    watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for nothing else, a health check of a web server, finds a watcher that starts anew as well."""
    take = PendingResults.take

    def die(_: PendingResults, task_id: str) -> Any:
        monkeypatch.setattr(PendingResults, "take", take)
        raise MemoryError("no room for another one")

    def is_ready() -> bool:
        # It says so once more, or not at all if somebody else has been told.
        with contextlib.suppress(BackendUnavailableError):
            return watcher.wait_ready(PATIENCE)
        return False

    future = watcher.watch(new_id())
    wait_until(lambda: len(writer.channels()) == 1, "the subscription")
    monkeypatch.setattr(PendingResults, "take", die)
    writer.publish(future.task_id, 1)
    with pytest.raises(BackendUnavailableError, match="died of MemoryError"):
        future.result(PATIENCE)
    wait_until(is_ready, "a new thread")


class TestWakeup:
    """A wake relies on the byte of an earlier one, or on a look at the flag. So the flag is up before either."""

    @pytest.fixture
    def wakeup(self) -> Any:
        made = Wakeup()
        yield made
        made.close()

    class Between:
        """A socket that does something before, or after, it does what it is told to."""

        def __init__(self, real: socket.socket, *, before: Any = None, after: Any = None) -> None:
            self._real = real
            self._before = before
            self._after = after

        def _around(self, act: Any) -> Any:
            before, after, self._before, self._after = self._before, self._after, None, None
            if before is not None:
                before()
            done = act()
            if after is not None:
                after()
            return done

        def send(self, data: bytes) -> int:
            return int(self._around(lambda: self._real.send(data)))

        def recv(self, size: int) -> bytes:
            return bytes(self._around(lambda: self._real.recv(size)))

        def fileno(self) -> int:
            return self._real.fileno()

        def close(self) -> None:
            self._real.close()

    def test_cleared_right_after_the_byte_was_sent(self, wakeup: Wakeup) -> None:
        def wakes_up_and_sleeps_again() -> None:
            wakeup.get_up(readable=True)
            wakeup.fall_asleep()

        wakeup._sender = self.Between(wakeup._sender, after=wakes_up_and_sleeps_again)  # type: ignore[assignment]
        wakeup.wake()
        wakeup.wake()
        assert wait_readable(wakeup, 0), "the second wake found the flag up, and no byte on its way"

    def test_woken_right_before_the_byte_is_taken(self, wakeup: Wakeup) -> None:
        wakeup.wake()
        wakeup._receiver = self.Between(wakeup._receiver, before=wakeup.wake)  # type: ignore[assignment]
        # Whoever is woken looks after it: the wake in its middle is seen to.
        wakeup.clear()
        wakeup.wake()
        assert wakeup.wait(0), "this wake found the flag up, and no byte on its way"


class TestReadingWithoutHiredis:
    """redis-py's own reading waits for a message, and takes a wait in vain for a dead link: so it is asked first."""

    @pytest.fixture(params=["ours", "of_the_user"])
    def options(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RedisOptions:
        if request.param == "of_the_user":
            return OWN_PARSER
        monkeypatch.setattr(readers, "hiredis", None)
        return RedisOptions()

    def test_the_thread_is_free_while_nothing_comes(
        self, own_redis: RedisServer, writer: ResultWriter, options: RedisOptions
    ) -> None:
        # To wait for a message in vain would take that long.
        options = replace(options, read_timeout=20)
        with ResultWatcher(own_redis.url(), redis=options, connect_timeout=40) as watcher:
            assert watcher.wait_ready(10)
            future = watcher.watch(new_id())
            writer.write(future.task_id, 1)
            assert future.result(PATIENCE) == 1
            started = time.monotonic()
            assert isinstance(watcher.watch(new_id(), lifetime=0.1).exception(PATIENCE), WatchExpiredError)
            assert time.monotonic() - started < 10
            assert watcher.stats().reconnects == 0

    def test_messages_that_trickle_in(self, writer: ResultWriter, proxy: FaultProxy, options: RedisOptions) -> None:
        with ResultWatcher(through(proxy), redis=options, connect_timeout=20) as watcher:
            futures = watcher.watch_many(new_ids(5))
            wait_until(lambda: len(writer.channels()) == 5, "the subscriptions")
            proxy.trickle(8, 0.005)
            for number, future in enumerate(futures):
                writer.publish(future.task_id, number)
            assert [future.result(PATIENCE) for future in futures] == list(range(5))
            assert watcher.stats().reconnects == 0


def test_where_only_what_is_needed_is_installed(own_redis: RedisServer, writer: ResultWriter) -> None:
    stored, published = new_ids(2)
    writer.store(stored, "x" * 100_000)
    program = (
        "import sys\n"
        "for name in ('hiredis', 'msgspec', 'yaml', 'msgpack', 'brotli', 'zstandard'):\n    sys.modules[name] = None\n"
        "from bgresults import ResultWatcher\n"
        "with ResultWatcher(sys.argv[1]) as watcher:\n"
        "    print(len(watcher.watch(sys.argv[2]).result(20)), flush=True)\n"
        "    print(watcher.watch(sys.argv[3]).result(20))\n"
    )
    command = [sys.executable, "-c", program, own_redis.url(), stored, published]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "100000\n"
        wait_until(lambda: writer.channels() == {published}, "the subscription", PATIENCE)
        writer.write(published, "published")
        assert process.stdout.readline() == "published\n"


def test_a_message_that_drips_holds_nobody_up(
    writer: ResultWriter, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hiredis the thread stood in a read until the message was complete, for a minute at most."""
    monkeypatch.setattr(readers, "hiredis", None)
    with ResultWatcher(through(proxy), connect_timeout=20) as watcher:
        slow = watcher.watch(new_id())
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
        proxy.trickle(1, 1.0)
        writer.publish(slow.task_id, "a message of two hundred bytes takes two hundred seconds like that")
        passed = proxy.passed("to_client")
        wait_until(lambda: proxy.passed("to_client") >= passed + 2, "the first bytes", PATIENCE)
        started = time.monotonic()
        assert isinstance(watcher.watch(new_id(), lifetime=0.1).exception(PATIENCE), WatchExpiredError)
        assert time.monotonic() - started < 10
        assert not slow.done()
