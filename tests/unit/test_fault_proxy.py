"""FaultProxy: each of its modes, by what a socket on either side sees of it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bgresults.testing import FaultProxy
from bgresults.testing.pipes import Pace
from tests.support import wait_until
from tests.support.echo import PATIENCE, EchoServer, connected, is_silent, receive, running_echo, say_all, talk


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


def test_passes_bytes_and_ends_both_ways(proxy: FaultProxy, echo: EchoServer) -> None:
    data = os.urandom(3_000_000)
    with connected(proxy) as sock:
        sender = threading.Thread(target=say_all, args=(sock, data))
        sender.start()
        assert receive(sock, len(data) + 1) == data, "everything, then the end"
        sender.join()
    assert bytes(echo.heard) == data
    assert proxy.passed("to_client") == proxy.passed("to_server") == len(data)
    wait_until(lambda: proxy.connections == 0, "the connection to be gone")


def test_counts_connections(proxy: FaultProxy) -> None:
    for _ in range(20):
        with connected(proxy) as one, connected(proxy) as other:
            assert talk(one, b"a") == talk(other, b"a")
            assert proxy.connections == 2
    assert (proxy.connections_made, proxy.most_connections) == (40, 2)
    wait_until(lambda: proxy.connections == 0, "them to be gone")


def test_delay(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.delay(0.3, "to_client")
    begin = time.monotonic()
    assert talk(client, b"slow") == b"slow"
    assert time.monotonic() - begin >= 0.3
    proxy.delay(60)
    client.sendall(b"kept")
    assert is_silent(client)
    proxy.pass_through()
    assert receive(client, 4) == b"kept"


def test_trickle(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.trickle(2, 0.05)
    begin = time.monotonic()
    client.sendall(b"12345678")
    assert client.recv(100) == b"12"
    assert receive(client, 6) == b"345678"
    assert time.monotonic() - begin >= 0.15
    proxy.trickle(1, 60)
    client.sendall(b"abc")
    assert client.recv(100) == b"a"
    assert is_silent(client)
    proxy.pass_through()
    assert receive(client, 2) == b"bc"


def test_trickle_towards_the_server(proxy: FaultProxy, client: socket.socket, echo: EchoServer) -> None:
    proxy.trickle(1, 60, "to_server")
    client.sendall(b"xyz")
    assert client.recv(100) == b"x"
    assert is_silent(client)
    assert bytes(echo.heard) == b"hellox"


def test_cut(proxy: FaultProxy, client: socket.socket) -> None:
    # Bytes on the way make no RST of it.
    proxy.delay(60)
    client.sendall(b"lost")
    assert proxy.cut() == 1
    assert client.recv(1) == b"", "a FIN"
    assert proxy.connections == 0
    proxy.pass_through()
    with connected(proxy) as again:
        assert talk(again, b"new") == b"new"


def test_cut_wakes_a_blocked_reader(proxy: FaultProxy, client: socket.socket) -> None:
    """Pitfall 43: a close alone would not."""
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(client.recv(1)))
    reader.start()
    proxy.cut()
    reader.join(PATIENCE)
    assert heard == [b""]


def test_reset(proxy: FaultProxy, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connected(proxy) as again:
        assert talk(again, b"new") == b"new"


def test_black_hole(proxy: FaultProxy, client: socket.socket, echo: EchoServer) -> None:
    proxy.black_hole()
    client.sendall(b"lost")
    with connected(proxy) as late:
        late.sendall(b"lost too")
        assert is_silent(client)
        assert is_silent(late)
        assert proxy.connections == 2, "kept, and accepted"
        proxy.pass_through()
        client.sendall(b"still lost")
        assert is_silent(client), "bytes are missing, so there is no way back"
        assert is_silent(late)
        with connected(proxy) as again:
            assert talk(again, b"alive") == b"alive"
    assert bytes(echo.heard) == b"helloalive"
    client.close()
    wait_until(lambda: proxy.connections == 0, "the dead to be gone")


def test_black_hole_swallows_the_end_of_the_server_too(proxy: FaultProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        with FaultProxy(listener.getsockname()[1]) as other, connected(other) as sock:
            server, _ = listener.accept()
            other.black_hole()
            server.close()
            sock.sendall(b"hello?")
            assert is_silent(sock)
            assert other.connections == 1


def test_black_hole_in_one_direction(proxy: FaultProxy, client: socket.socket, echo: EchoServer) -> None:
    proxy.black_hole("to_client")
    client.sendall(b"!")
    wait_until(lambda: bytes(echo.heard) == b"hello!", "the server to hear")
    assert is_silent(client)


def test_refuse(proxy: FaultProxy, client: socket.socket) -> None:
    port = proxy.port
    proxy.refuse()
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
    assert talk(client, b"old friends") == b"old friends"
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", port))
    proxy.accept()
    assert proxy.port == port
    with connected(proxy) as again:
        assert talk(again, b"new") == b"new"
    proxy.refuse()
    proxy.pass_through()
    connected(proxy).close()


def test_garbage(proxy: FaultProxy, client: socket.socket) -> None:
    assert proxy.garbage(b"\x00\xff") == 1
    assert receive(client, 2) == b"\x00\xff"
    assert talk(client, b"on") == b"on"
    proxy.garbage(b"?", greet=True)
    with connected(proxy) as late:
        assert receive(late, 1) == b"?"
        assert talk(late, b"on") == b"on"
    proxy.pass_through()
    with connected(proxy) as later:
        assert talk(later, b"on") == b"on"


@pytest.mark.parametrize("count", [0, 1, 7, 70_000])
def test_drop_after(proxy: FaultProxy, count: int) -> None:
    with connected(proxy) as one, connected(proxy) as other:
        assert talk(one, b"before") == b"before"
        assert talk(other, b"before") == b"before"
        proxy.drop_after(count)
        assert not proxy.dropped.is_set()
        data = os.urandom(80_000)
        sender = threading.Thread(target=quietly, args=(one.sendall, data))
        sender.start()
        assert receive(one, len(data)) == data[:count]
        assert other.recv(1) == b""
        assert proxy.dropped.wait(PATIENCE)
        sender.join(PATIENCE)
    with connected(proxy) as again:
        assert talk(again, b"once") == b"once"


def quietly(send: object, data: bytes) -> None:
    with contextlib.suppress(OSError):
        send(data)  # type: ignore[operator]


def test_hold_and_release(proxy: FaultProxy, client: socket.socket, echo: EchoServer) -> None:
    proxy.hold(b"WORD")
    assert talk(client, b"other") == b"other"
    client.sendall(b"a WO")
    assert receive(client, 4) == b"a WO"
    client.sendall(b"RD")
    assert proxy.holding.wait(PATIENCE)
    wait_until(lambda: echo.heard.endswith(b"WORD"), "the server to hear")
    assert is_silent(client)
    proxy.release()
    assert receive(client, 2) == b"RD"
    assert talk(client, b"WORD") == b"WORD"


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (Pace(), "pass"),
        (Pace(delay=0.25), "delay 0.25 s"),
        (Pace(piece=8, gap=0.02), "trickle 8 bytes per 0.02 s"),
        (Pace(swallow=True), "black hole"),
    ],
)
def test_its_modes_in_words(pace: Pace, words: str) -> None:
    assert str(pace) == words
