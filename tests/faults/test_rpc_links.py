"""What a network does to a watcher of replies, plain and over TLS: every outage is noticed, told once, and ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgresults import BackendUnavailableError
from bgresults.testing import FaultProxy, RabbitMQServer
from tests.support import wait_until
from tests.support.results import new_id, new_ids
from tests.support.rpc_lines import NOTICED, RECOVERED, WAIT, Line, line_to, shared_node, shared_node_ca
from tests.support.timeouts import times_out_in_time
from tests.support.waiters import Waiters

pytestmark = pytest.mark.rabbitmq

THREADS = 8
# The first frames of a broker that speaks the protocol, and of others.
DELIVERY_CUT_SHORT = b"\x01\x00\x01\x00\x00\x00\x40\x00\x3c\x00\x3c"


@pytest.fixture(scope="module", params=["plain", pytest.param("tls", marks=[pytest.mark.tls, pytest.mark.slow])])
def endpoint(request: pytest.FixtureRequest) -> tuple[RabbitMQServer, Path | None]:
    """What is peculiar to TLS has tests of its own, which are quick."""
    return shared_node(), (None if request.param == "plain" else shared_node_ca())


@pytest.fixture
def line(endpoint: tuple[RabbitMQServer, Path | None], caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    node, ca = endpoint
    with line_to(node, caplog, ca) as made:
        yield made


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_an_end_with_and_without_a_word(line: Line, how: str) -> None:
    """Noticed by reading alone."""
    with line.watcher(heartbeat=0) as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        assert getattr(line.proxy, how)() == 1
        line.noticed(watcher)
        line.reply(watcher, future, how)
        line.proxy.accept()
        assert future.result(RECOVERED) == how
        line.is_well_again(watcher)


@pytest.mark.parametrize("direction", [None, "to_client"], ids=["both ways", "to us"])
def test_a_black_hole(line: Line, direction: str | None) -> None:
    """Nobody says that the link is dead: heartbeats that do not come do. New connections are swallowed as well."""
    with line.watcher(connect_timeout=0.7) as watcher:
        future = line.consumed(watcher)
        line.proxy.black_hole(direction)  # type: ignore[arg-type]
        line.reply(watcher, future, "meanwhile")
        assert times_out_in_time(future, 0.5)
        line.noticed(watcher)
        made = line.proxy.connections_made
        wait_until(lambda: line.proxy.connections_made >= made + 2, "vain attempts")
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "meanwhile"
        assert watcher.stats().redelivered == 1
        line.is_well_again(watcher)


def test_what_we_say_gets_lost(line: Line) -> None:
    """The other half: replies come, and no acknowledgement and no heartbeat leaves. The broker ends that."""
    with line.watcher() as watcher:
        first, second = line.consumed(watcher), watcher.watch(new_id())
        line.proxy.black_hole("to_server")
        line.reply(watcher, first, "over a link that is half dead")
        assert first.result(WAIT) == "over a link that is half dead"
        line.noticed(watcher)
        line.proxy.pass_through()
        line.reply(watcher, second, "after it")
        assert second.result(RECOVERED) == "after it"
        wait_until(lambda: watcher.stats().duplicate == 1, "the first one again, which nobody waits for")
        line.is_well_again(watcher)


def test_a_trickle(line: Line) -> None:
    """Slow is not dead, also where one frame takes longer than heartbeats may: the reply comes over this connection."""
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.proxy.trickle(8, 0.02)
        line.reply(watcher, future, "x" * 1200)
        assert future.result(WAIT) == "x" * 1200
        assert watcher.stats().reconnects == 0
        assert line.proxy.connections_made == 1
        assert line.levels() == []
        line.proxy.pass_through()


def test_closing_while_it_trickles(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.proxy.trickle(8, 0.02)
        before = line.proxy.passed("to_client")
        line.reply(watcher, future, "x" * 8000)
        wait_until(lambda: line.proxy.passed("to_client") > before + 500, "the first bytes of the message")
        begin = time.monotonic()
        watcher.close()
        assert time.monotonic() - begin < 4, "the rest of the message would take twenty seconds"
        assert future.done()
        line.proxy.pass_through()


def test_a_delay(line: Line) -> None:
    """100 ms each way is a far broker, not a dead one."""
    line.proxy.delay(0.1)
    with line.watcher(connect_timeout=20) as watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        line.reply(watcher, future, "far")
        assert future.result(WAIT) == "far"
        assert watcher.stats().reconnects == 0


def test_refused_at_first(line: Line) -> None:
    line.proxy.refuse()
    with line.watcher() as watcher:
        future = watcher.watch(new_id())
        assert not watcher.wait_ready(0.3)
        with pytest.raises(BackendUnavailableError):
            _ = watcher.reply_to
        line.told(["WARNING"])
        line.proxy.accept()
        assert watcher.wait_ready(RECOVERED)
        line.reply(watcher, future, "late")
        assert future.result(WAIT) == "late"
        assert watcher.stats().reconnects == 0
        line.told(["WARNING", "INFO"])


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        DELIVERY_CUT_SHORT,
        b"\x01\x00\x01\x00\x00\x00\x01\x00\xce",
        b"\x03\x00\x01\x00\x00\x00\x01x\xce",
        b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x3c\xcd",
    ],
    ids=["bytes", "http", "half a frame", "short frame", "a body of nothing", "wrong end"],
)
def test_garbage(line: Line, garbage: bytes) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.garbage(garbage)
        line.noticed(watcher)
        line.reply(watcher, future, "good")
        line.proxy.accept()
        assert future.result(RECOVERED) == "good"
        line.is_well_again(watcher)


def test_garbage_is_noticed_without_heartbeats(line: Line) -> None:
    """It is no frame that is still to be completed."""
    with line.watcher(heartbeat=0) as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        line.noticed(watcher)
        line.reply(watcher, future, "good")
        line.proxy.accept()
        assert future.result(RECOVERED) == "good"


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.0\r\n", b"AMQP\x00\x01\x00\x00"], ids=["ssh", "AMQP 1.0"])
def test_garbage_instead_of_a_greeting(line: Line, greeting: bytes) -> None:
    with line.watcher(connect_timeout=0.7) as watcher:
        future = line.consumed(watcher)
        line.proxy.garbage(greeting, greet=True)
        line.proxy.cut()
        wait_until(lambda: line.proxy.connections_made >= 5, "vain attempts")
        line.reply(watcher, future, "good")
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "good"
        line.is_well_again(watcher)


def _answers_of_a_session(line: Line) -> int:
    """How many bytes a watcher hears from its first connect to a result."""
    before = line.proxy.passed("to_client")
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.reply(watcher, future, "x" * 50)
        assert future.result(WAIT) == "x" * 50
        return line.proxy.passed("to_client") - before


def test_dropped_after_every_so_many_bytes(line: Line) -> None:
    """In the handshake, in the declaration, in the message: wherever it breaks, it is mended."""
    size = _answers_of_a_session(line)
    step = max(1, size // 25)
    for count in range(0, size + 10, step):
        line.log.clear()
        line.proxy.drop_after(count)
        with line.watcher() as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT), f"after {count} bytes"
            line.reply(watcher, future, "x" * 50)
            assert future.result(WAIT) == "x" * 50, f"after {count} bytes"
            # Also where nothing was dropped: an attempt may have taken too long.
            wait_until(lambda: line.levels() in (["WARNING", "INFO"], []), f"both lines, after {count} bytes")
            assert watcher.stats().queues_lost == 0
            assert watcher.wait_ready(WAIT)
        line.proxy.pass_through()


@pytest.mark.parametrize("when", ["at first", "after an outage"])
def test_a_slow_start(line: Line, when: str) -> None:
    """A broker that accepts, and answers later than an attempt may take: each attempt ends, until one succeeds."""
    with line.watcher(connect_timeout=0.5) as watcher:
        future = line.consumed(watcher) if when == "after an outage" else None
        line.proxy.delay(60, "to_client")
        line.proxy.cut()
        future = future or watcher.watch(new_id())
        line.noticed(watcher)
        made = line.proxy.connections_made
        wait_until(lambda: line.proxy.connections_made >= made + 3, "attempts that end", 3 * RECOVERED)
        assert not watcher.connected
        line.proxy.pass_through()
        assert watcher.wait_ready(RECOVERED)
        line.reply(watcher, future, "at last")
        assert future.result(RECOVERED) == "at last"
        assert watcher.stats().reconnects == (when == "after an outage")
        line.told(["WARNING", "INFO"])


def test_failing_fast(line: Line) -> None:
    with line.watcher(on_disconnect="fail") as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.cut()
        assert isinstance(future.exception(NOTICED), BackendUnavailableError)
        assert isinstance(watcher.watch(new_id()).exception(0), BackendUnavailableError)
        line.proxy.accept()
        line.is_well_again(watcher)


def refused(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset()


def slow_start(proxy: FaultProxy) -> None:
    proxy.delay(60, "to_client")
    proxy.cut()


FAULTS: dict[str, Callable[[FaultProxy], object]] = {
    "cut": FaultProxy.cut,
    "reset": FaultProxy.reset,
    "black hole": FaultProxy.black_hole,
    "answers lost": lambda proxy: proxy.black_hole("to_client"),
    "garbage": lambda proxy: proxy.garbage(b"\x00\xff\xfe\r\n"),
    "refused": refused,
    "slow start": slow_start,
    # In the second message or so.
    "in the middle": lambda proxy: proxy.drop_after(700),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_many_outages(line: Line, times: int) -> None:
    """Every fault, in any order, with threads that wait: each is recovered from in time, counted once, told once."""
    faults = times * list(FAULTS)
    random.shuffle(faults)
    slowest = dict.fromkeys(FAULTS, 0.0)
    with line.watcher() as watcher, Waiters(THREADS, NOTICED + RECOVERED) as waiters:
        line.consumed(watcher)
        for number, fault in enumerate(faults, 1):
            futures = watcher.watch_many(new_ids(THREADS))
            assert watcher.wait_ready(WAIT)
            waiters.take(futures)
            waiters.until_waiting()
            FAULTS[fault](line.proxy)
            for future in futures:
                line.reply(watcher, future, future.task_id)
            if fault == "in the middle":
                assert line.proxy.dropped.wait(WAIT)
            line.proxy.pass_through()
            began = time.monotonic()
            outcomes = waiters.outcomes()
            slowest[fault] = max(slowest[fault], round(time.monotonic() - began, 3))
            assert outcomes == {future.task_id: future.task_id for future in futures}, f"fault {number}, {fault}"
            wait_until(lambda number=number: watcher.stats().reconnects == number, f"the count after {fault}", NOTICED)  # type: ignore[misc]
        line.told(["WARNING", "INFO"] * len(faults))
        assert watcher.stats().queues_lost == 0
        print(f"{watcher.stats().redelivered} replies came twice", end="; ")
    print(f"{len(faults)} faults; seconds to recover at most: {slowest}")
