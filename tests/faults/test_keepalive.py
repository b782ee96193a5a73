"""TCP keepalive: the kernel finds links that died without a word, also those that nobody says anything on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import RedisServer, ThrowAwayCA
from tests.support.outages import PATIENCE
from tests.support.sockets import copies

ON = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


def keepalive(port: int) -> list[dict[str, int]]:
    """The settings of each connection of this process to the port, as the kernel has them."""
    found = []
    for sock in copies(port):
        with sock:
            settings = {"SO_KEEPALIVE": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}
            for name in ON.keys() - settings:
                settings[name] = sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            found.append(settings)
    return found


CLASSES = pytest.mark.parametrize("connection_class", [None, redis.Connection], ids=["own", "redis-py's"])


@CLASSES
@pytest.mark.parametrize("wanted", [None, True])
def test_on(own_redis: RedisServer, wanted: bool | None, connection_class: type | None) -> None:
    options = RedisOptions(socket_keepalive=wanted, connection_class=connection_class)
    with ResultWatcher(own_redis.url(), redis=options) as watcher:
        assert watcher.wait_ready(PATIENCE)
        assert keepalive(own_redis.port) == [ON, ON]


@CLASSES
@pytest.mark.parametrize("how", ["option", "url"])
def test_off(own_redis: RedisServer, how: str, connection_class: type | None) -> None:
    url = own_redis.url() + ("?socket_keepalive=false" if how == "url" else "")
    wanted = False if how == "option" else None
    options = RedisOptions(socket_keepalive=wanted, connection_class=connection_class)
    with ResultWatcher(url, redis=options) as watcher:
        assert watcher.wait_ready(PATIENCE)
        assert [settings["SO_KEEPALIVE"] for settings in keepalive(own_redis.port)] == [0, 0]


@pytest.fixture
def certified() -> Iterator[tuple[RedisServer, Path]]:
    with ThrowAwayCA() as ca, RedisServer(tls=ca.server("127.0.0.1")) as server:
        yield server, ca.path


@pytest.mark.tls
def test_below_tls(certified: tuple[RedisServer, Path]) -> None:
    server, ca = certified
    with ResultWatcher(server.tls_url(host="127.0.0.1"), redis=RedisOptions(ssl_ca_certs=str(ca))) as watcher:
        assert watcher.wait_ready(PATIENCE)
        assert keepalive(server.tls_port) == [ON, ON]
