"""Neither a spin nor deafness: half a frame, a lone heartbeat, a silent line. Measured as the thread's own CPU time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import wait_until
from tests.support.results import new_ids
from tests.support.rpc_lines import WAIT, Line, line_to, shared_node

pytestmark = pytest.mark.rabbitmq

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
# Seconds of looking. A thread that spins uses most of them, even on a busy machine; one that sleeps next to nothing.
LOOK = 1.0


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    with line_to(shared_node(), caplog) as made:
        yield made


def cpu_seconds() -> float:
    """What the drain thread of the one watcher has used so far."""
    thread = next(thread for thread in threading.enumerate() if thread.name == "bgresults-rpc")
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def is_at_rest() -> None:
    """The thread sleeps while nothing comes."""
    before = cpu_seconds()
    assert not threading.Event().wait(LOOK)
    used = cpu_seconds() - before
    assert used < LOOK / 5, f"{used:.2f} s of CPU in {LOOK:g} s"


@pytest.mark.parametrize("heartbeat", [0, 1])
def test_nothing_comes(line: Line, heartbeat: int) -> None:
    with line.watcher(heartbeat=heartbeat) as watcher:
        futures = watcher.watch_many(new_ids(1000))
        line.consumed(watcher)
        is_at_rest()
        assert watcher.pending == len(futures)


@pytest.mark.parametrize("size", [50, 150, 300, 2000])
def test_half_a_message(line: Line, size: int) -> None:
    """A frame, or a message of several, of which so many bytes have come. The rest takes its time."""
    with line.watcher(heartbeat=0) as watcher:
        future = line.consumed(watcher)
        line.proxy.trickle(size, 60)
        before = line.proxy.passed("to_client")
        line.reply(watcher, future, "x" * 4000)
        wait_until(lambda: line.proxy.passed("to_client") > before, "the first part")
        is_at_rest()
        assert not future.done()
        line.proxy.pass_through()
        assert future.result(WAIT) == "x" * 4000
        assert watcher.stats().reconnects == 0


def test_a_lone_heartbeat(line: Line) -> None:
    """And then a reply: whoever takes the heartbeat for what was waited for reads no further."""
    with line.watcher(heartbeat=0) as watcher:
        for number in range(20):
            future = line.consumed(watcher)
            assert line.proxy.garbage(HEARTBEAT * (number % 3 + 1)) == 1
            line.reply(watcher, future, number)
            assert future.result(WAIT) == number
        line.proxy.garbage(HEARTBEAT)
        is_at_rest()
        assert watcher.stats().reconnects == 0


def test_half_a_heartbeat(line: Line) -> None:
    with line.watcher(heartbeat=0) as watcher:
        future = line.consumed(watcher)
        line.proxy.garbage(HEARTBEAT[:5])
        is_at_rest()
        line.proxy.garbage(HEARTBEAT[5:])
        line.reply(watcher, future, "after it")
        assert future.result(WAIT) == "after it"
        assert watcher.stats().reconnects == 0


def test_an_outage(line: Line) -> None:
    """The back-off is waited for, not spun through."""
    with line.watcher() as watcher:
        line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.cut()
        line.noticed(watcher)
        before = cpu_seconds()
        assert not threading.Event().wait(LOOK)
        # Twenty attempts or more, each of which costs some.
        assert cpu_seconds() - before < LOOK / 2
        line.proxy.accept()
        line.is_well_again(watcher)
