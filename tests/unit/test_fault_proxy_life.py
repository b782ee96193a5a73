"""FaultProxy: what it tells and records, how it ends, and what it leaves behind: nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bgresults.testing import FaultProxy, free_port
from tests.support import wait_until
from tests.support.echo import PATIENCE, EchoServer, connected, is_silent, running_echo, say_all, talk
from tests.support.leaks import Snapshot, check_leaks


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with running_echo() as server:
        yield server


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connected(proxy) as sock:
        assert talk(sock, b"hello") == b"hello"
        yield sock


def test_records_on_demand(proxy: FaultProxy, client: socket.socket) -> None:
    assert proxy.recorded("to_server") == b""
    proxy.record()
    assert talk(client, b"one") == b"one"
    with connected(proxy) as other:
        assert talk(other, b"two") == b"two"
    assert {proxy.recorded("to_server"), proxy.recorded("to_client")} <= {b"onetwo", b"twoone"}
    proxy.black_hole()
    client.sendall(b"three")
    wait_until(lambda: b"three" in proxy.recorded("to_server"), "what was swallowed")
    proxy.record(False)
    client.sendall(b"four")
    assert is_silent(client)
    assert proxy.recorded("to_server") == b""


def test_a_server_that_is_away(echo: EchoServer) -> None:
    def hear(proxy: FaultProxy) -> bytes:
        # It may be over before the client knows that it is connected.
        with connected(proxy) as sock:
            return sock.recv(1)

    with FaultProxy(free_port()) as proxy:
        with pytest.raises(ConnectionError):
            hear(proxy)
        wait_until(lambda: proxy.connections == 0, "it to be gone")


def test_says_what_it_did(echo: EchoServer) -> None:
    proxy = FaultProxy(echo.port)
    assert "not started" in repr(proxy)
    with pytest.raises(RuntimeError, match="not started"):
        _ = proxy.port
    with proxy, connected(proxy) as sock:
        assert talk(sock, b"a") == b"a"
        proxy.trickle(8, 0.02)
        assert "trickle 8 bytes per 0.02 s" in repr(proxy)
        assert "to_server: pass" in repr(proxy)
        assert "1 of 1 connections" in repr(proxy)
        proxy.cut()
        proxy.refuse()
        assert "refusing" in repr(proxy)
        proxy.black_hole("to_client")
        assert proxy.history[-3:] == ["cut() on 1 connections", "refuse()", "black_hole() to_client"]
    assert "closed" in repr(proxy)
    assert "cut() on 1 connections" in repr(proxy)
    with pytest.raises(RuntimeError, match="closed"):
        proxy.cut()
    with pytest.raises(RuntimeError, match="closed"):
        proxy.start()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda proxy: proxy.delay(-1),
        lambda proxy: proxy.trickle(0, 1),
        lambda proxy: proxy.trickle(1, -1),
        lambda proxy: proxy.delay(1, "up"),
        lambda proxy: proxy.drop_after(-1),
        lambda proxy: proxy.hold(b""),
        lambda proxy: proxy.recorded("up"),
    ],
)
def test_says_what_is_wrong(proxy: FaultProxy, wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong(proxy)  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["pass", "delay", "trickle", "black_hole", "hold", "refuse", "full"])
def test_closing_while_traffic_flows(echo: EchoServer, mode: str) -> None:
    """Prompt, and nothing stays: neither a thread nor a descriptor."""
    before = Snapshot()
    stop = threading.Event()
    with FaultProxy(echo.port, record=True) as proxy:

        def chat(answers: bool) -> None:
            with contextlib.suppress(OSError), connected(proxy) as sock:
                while not stop.is_set():
                    sock.sendall(b"x" * 1000)
                    if answers and not sock.recv(65536):
                        return

        threads = [threading.Thread(target=chat, args=(mode != "full",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: proxy.passed("to_server") > 10_000, "traffic")
        switch = {
            "delay": lambda: proxy.delay(60),
            "trickle": lambda: proxy.trickle(1, 60),
            "black_hole": proxy.black_hole,
            "hold": lambda: proxy.hold(b"x"),
            "refuse": proxy.refuse,
        }
        switch.get(mode, lambda: None)()
        begin = time.monotonic()
        proxy.close()
        assert time.monotonic() - begin < 5
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        proxy.close()
        assert proxy.recorded("to_server")
    check_leaks(before, Snapshot, {"threads", "descriptors"})


def test_switching_while_traffic_flows(proxy: FaultProxy) -> None:
    """No byte is lost, doubled or moved by a change of pace."""
    data = os.urandom(400_000)
    with connected(proxy) as sock:
        sender = threading.Thread(target=say_all, args=(sock, data))
        sender.start()
        received = b""
        turns = 0
        while piece := sock.recv(20_000):
            received += piece
            turns += 1
            [
                lambda: proxy.delay(0.01),
                lambda: proxy.trickle(5000, 0.001, None),
                lambda: proxy.delay(0.005, "to_server"),
                proxy.pass_through,
            ][turns % 4]()
        sender.join(PATIENCE)
    assert received == data


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_no_part_in_it(proxy: FaultProxy, client: socket.socket) -> None:
    """It holds no copy of the sockets: what is cut is cut, and a port that refuses refuses, while it lives."""
    release, wait = os.pipe()[::-1]
    child = os.fork()
    if not child:
        os.close(release)
        try:
            proxy.close()
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(wait)
    try:
        assert talk(client, b"parent") == b"parent"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    finally:
        os.close(release)
        os.waitpid(child, 0)
