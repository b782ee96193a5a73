"""The wake-up pair: nothing is lost between an append and a sleep, and a child leaves its parent asleep."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults.wakeup import Wakeup
from tests.support.forks import c_fork, run_in_child


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


def readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup], [], [], 0)[0])


class Sender:
    """Stands in for the sending socket: counts, and does something in the middle."""

    def __init__(self, wakeup: Wakeup, meanwhile: Any = None) -> None:
        self.real = wakeup._sender
        self.meanwhile = meanwhile
        self.sent = 0

    def send(self, data: bytes) -> int:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        self.sent += len(data)
        return self.real.send(data)

    def close(self) -> None:
        self.real.close()


def test_wakes(wakeup: Wakeup) -> None:
    assert not readable(wakeup)
    wakeup.wake()
    assert readable(wakeup)
    assert wakeup.wait(0)
    wakeup.clear()
    assert not readable(wakeup)
    assert not wakeup.wait(0)


def test_many_wakes_are_one_byte(wakeup: Wakeup) -> None:
    wakeup._sender = sender = Sender(wakeup)  # type: ignore[assignment]
    for _ in range(1000):
        wakeup.wake()
    assert sender.sent == 1
    wakeup.clear()
    wakeup.wake()
    assert sender.sent == 2
    assert readable(wakeup)


def test_clear_without_a_wake(wakeup: Wakeup) -> None:
    wakeup.clear()
    wakeup.wake()
    assert readable(wakeup)


def test_wait_ends_with_the_wake(wakeup: Wakeup) -> None:
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(wakeup.wait(20)))
    sleeper.start()
    wakeup.wake()
    sleeper.join(10)
    assert woken == [True]


@pytest.mark.parametrize("seconds", [-1, 0, 0.001, 0.05])
def test_wait_ends_with_the_time(wakeup: Wakeup, seconds: float) -> None:
    assert wakeup.wait(seconds) is False


def test_never_blocks_or_raises(wakeup: Wakeup) -> None:
    wakeup._sender.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            wakeup._sender.send(b"\0" * 65536)
    wakeup.wake()
    assert readable(wakeup)
    wakeup.clear()
    assert not readable(wakeup)
    wakeup.close()
    wakeup.wake()
    assert wakeup.fileno() == -1
    wakeup.close()


def test_a_clear_in_the_middle_of_a_wake(wakeup: Wakeup) -> None:
    """The flag is up and the byte is not there yet: that clear must not swallow what comes after it."""
    wakeup._sender = Sender(wakeup, wakeup.clear)  # type: ignore[assignment]
    wakeup.wake()
    assert readable(wakeup)
    wakeup.clear()
    wakeup.wake()
    assert readable(wakeup)


def test_a_wake_in_the_middle_of_a_clear(wakeup: Wakeup) -> None:
    """Whoever finds the flag up in the middle of a clear relies on the drain thread looking only after it."""
    queue: deque[int] = deque()
    real = wakeup._receiver

    class Receiver:
        def recv(self, size: int) -> bytes:
            data = real.recv(size)
            queue.append(1)
            wakeup.wake()
            return data

        def close(self) -> None:
            real.close()

        def fileno(self) -> int:
            return real.fileno()

    wakeup.wake()
    wakeup._receiver = Receiver()  # type: ignore[assignment]
    wakeup.clear()
    # As the drain thread does it: clear first, look second.
    assert readable(wakeup) or queue


def test_an_exception_in_the_middle_of_a_wake(wakeup: Wakeup) -> None:
    """Signal handlers raise: Ctrl-C, a web server's time limit. The next wake must wake all the same."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    wakeup._sender = Sender(wakeup, interrupt)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        wakeup.wake()
    wakeup.wake()
    assert readable(wakeup)


def test_who_relied_on_a_wake_that_an_exception_came_into(wakeup: Wakeup) -> None:
    """Another thread found the flag up, and went on. Whatever the interrupted one does next, it has to be woken for."""

    def interrupt() -> None:
        other = threading.Thread(target=wakeup.wake)
        other.start()
        other.join(10)
        assert not other.is_alive()
        raise KeyboardInterrupt

    wakeup._sender = Sender(wakeup, interrupt)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        wakeup.wake()
    assert readable(wakeup)


def test_append_first_wake_second(wakeup: Wakeup) -> None:
    """Four threads append and wake; the sleeper relies on nothing but the wakes."""
    count, threads = 5000, 4
    queue: deque[int] = deque()
    taken = 0

    def produce() -> None:
        for number in range(count):
            queue.append(number)
            wakeup.wake()

    producers = [threading.Thread(target=produce) for _ in range(threads)]
    for producer in producers:
        producer.start()
    while taken < count * threads:
        assert wakeup.wait(20), f"slept on {len(queue)} items that somebody had woken us for"
        wakeup.clear()
        while queue:
            queue.popleft()
            taken += 1
    for producer in producers:
        producer.join()


def test_who_does_not_sleep_is_not_woken(wakeup: Wakeup) -> None:
    wakeup._sender = sender = Sender(wakeup)  # type: ignore[assignment]
    wakeup.get_up(readable=False)
    wakeup.wake()
    assert sender.sent == 0
    assert wakeup.fall_asleep(), "look once more"
    wakeup.get_up(readable=readable(wakeup))
    assert not wakeup.fall_asleep()
    wakeup.wake()
    assert sender.sent == 1
    wakeup.get_up(readable=readable(wakeup))
    assert not readable(wakeup)


def test_without_a_connection_nobody_sleeps_over_it_either(wakeup: Wakeup) -> None:
    """The connection was lost while the thread was up."""
    wakeup.get_up(readable=False)
    wakeup.wake()
    assert wakeup.wait(20)
    wakeup.clear()
    assert not wakeup.wait(0)


def test_falling_asleep_in_the_middle_of_a_wake(wakeup: Wakeup) -> None:
    """One of the two sees the other."""
    real = wakeup._closing
    seen: list[bool] = []

    class Lock:
        def __enter__(self) -> None:
            real.acquire()
            seen.append(wakeup.fall_asleep())

        def __exit__(self, *_: object) -> None:
            real.release()

    wakeup.get_up(readable=False)
    wakeup._closing = Lock()  # type: ignore[assignment]
    wakeup.wake()
    wakeup._closing = real
    assert seen == [True] or readable(wakeup)


def test_getting_up_in_the_middle_of_a_wake(wakeup: Wakeup) -> None:
    """The byte comes too late: the next sleep is a short one, and the one after it is not."""
    wakeup.fall_asleep()
    wakeup._sender = Sender(wakeup, lambda: wakeup.get_up(readable=False))  # type: ignore[assignment]
    wakeup.wake()
    assert not wakeup.fall_asleep()
    assert readable(wakeup)
    wakeup.get_up(readable=True)
    wakeup.wake()
    assert wakeup.fall_asleep()


def test_nothing_is_slept_over(wakeup: Wakeup) -> None:
    """Four threads append and wake; the sleeper is up at times, and relies on nothing but the wakes."""
    count, threads = 5000, 4
    queue: deque[int] = deque()
    taken = 0

    def produce() -> None:
        for number in range(count):
            queue.append(number)
            wakeup.wake()

    producers = [threading.Thread(target=produce) for _ in range(threads)]
    for producer in producers:
        producer.start()
    while taken < count * threads:
        seconds = 0.0 if wakeup.fall_asleep() else 20.0
        woken = bool(select.select([wakeup], [], [], seconds)[0])
        assert woken or not seconds, f"slept on {len(queue)} items that somebody had woken us for"
        wakeup.get_up(readable=woken)
        while queue:
            queue.popleft()
            taken += 1
    for producer in producers:
        producer.join()


@pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["fork", "c_fork"])
def test_a_child_wakes_nobody(wakeup: Wakeup, fork: Any) -> None:
    def child() -> None:
        for _ in range(10):
            wakeup.wake()
        wakeup.close()

    assert run_in_child(child, fork=fork) == 0
    assert not readable(wakeup)
    wakeup.wake()
    assert readable(wakeup)
