"""Where the Redis consumer connects to, and as whom; refusals, in the server's words and without a password."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
import redis

from bgresults import RedisOptions
from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis import ResultConsumer
from bgresults.testing import RedisServer
from tests.support.consumers import Recorder, RedisBench, drain_until
from tests.support.results import ResultWriter

SECRET = "s3cr3t/:@%?#"
ALLOWED = {"commands": ["+subscribe", "+unsubscribe", "+mget", "+ping", "+select"], "keys": ["*celery-task-meta-*"]}


class Provider(redis.CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        return "reader", SECRET


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """With a Unix socket, a user who may do what the documentation says, and one who may hear nothing."""
    with RedisServer(unix_socket=True) as made:
        with made.client() as client:
            everything = {"enabled": True, "passwords": [f"+{SECRET}"], **ALLOWED}
            client.acl_setuser("reader", reset_channels=True, channels=["*celery-task-meta-*"], **everything)
            client.acl_setuser("deaf", reset_channels=True, **everything)
            client.acl_setuser(
                "blind", reset_channels=True, channels=["*"], **{**everything, "commands": ["+subscribe", "+ping"]}
            )
        yield made


@pytest.fixture
def bench(server: RedisServer) -> Iterator[RedisBench]:
    made = RedisBench(server)
    yield made
    made.close()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def at(server: RedisServer, login: str = "", path: str = "/0") -> str:
    return f"redis://{login}127.0.0.1:{server.port}{path}"


URLS: dict[str, Callable[[RedisServer], tuple[str, RedisOptions | None]]] = {
    "user_in_url": lambda server: (at(server, f"reader:{quote(SECRET, safe='')}@"), None),
    "user_in_query": lambda server: (at(server) + f"?username=reader&password={quote(SECRET, safe='')}", None),
    "user_in_options": lambda server: (at(server), RedisOptions(username="reader", password=SECRET)),
    "options_win": lambda server: (at(server, "nobody:wrong@"), RedisOptions(username="reader", password=SECRET)),
    "provider": lambda server: (at(server, "nobody:wrong@"), RedisOptions(credential_provider=Provider())),
    "localhost": lambda server: (f"redis://localhost:{server.port}", None),
    "unix": lambda server: (f"unix://{server.socket_path}", None),
    "socket": lambda server: (f"socket://{server.socket_path}", None),
    "redis+socket": lambda server: (f"redis+socket://{server.socket_path}", None),
    "unix_with_user": lambda server: (f"unix://reader:{quote(SECRET, safe='')}@{server.socket_path}", None),
    "own_class": lambda server: (at(server), RedisOptions(connection_class=redis.Connection)),
    "own_unix_class": lambda server: (
        f"unix://{server.socket_path}",
        RedisOptions(connection_class=redis.UnixDomainSocketConnection),
    ),
}


@pytest.mark.parametrize("name", URLS)
def test_addresses(bench: RedisBench, seen: Recorder, name: str) -> None:
    url, options = URLS[name](bench.server)
    consumer = bench.consumer(seen, url=url, options=options)
    bench.send(f"before-{name}", 1)
    consumer.start(f"before-{name}")
    consumer.consume_from(f"after-{name}")
    drain_until(consumer, lambda: seen.states)
    bench.send(f"after-{name}", 2)
    drain_until(consumer, lambda: len(seen.states) == 2)
    assert seen.values == {f"before-{name}": 1, f"after-{name}": 2}


@pytest.mark.parametrize("suffix", ["/3", "?db=3", "/?virtual_host=3"])
def test_another_database(server: RedisServer, bench: RedisBench, seen: Recorder, suffix: str) -> None:
    """What is stored belongs to a database, channels do not."""
    third = ResultWriter(server, db=3)
    try:
        bench.writer.store("stored", "in database 0")
        third.store("stored", "in database 3")
        consumer = bench.consumer(seen, url=at(server, path=suffix))
        consumer.start("stored")
        consumer.consume_from("later")
        drain_until(consumer, lambda: seen.states)
        third.write("later", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert seen.values == {"stored": "in database 3", "later": 2}
    finally:
        third.close()


@pytest.mark.parametrize(
    ("prefix", "on_the_wire"),
    [
        ("app", "app_"),
        ("app_", "app_"),
        ("app:", "app:"),
        ("app-", "app-"),
        ("app.", "app."),
        ("äpp", "äpp_"),
        ("", ""),
    ],
)
def test_key_prefix(server: RedisServer, bench: RedisBench, seen: Recorder, prefix: str, on_the_wire: str) -> None:
    writer = ResultWriter(server, on_the_wire)
    try:
        consumer = bench.consumer(seen, key_prefix=prefix)
        writer.write("stored", 1)
        consumer.start("stored")
        consumer.consume_from("later")
        drain_until(consumer, lambda: writer.channels() >= {"later"} and seen.states)
        writer.write("later", 2)
        drain_until(consumer, lambda: len(seen.states) == 2)
        assert seen.values == {"stored": 1, "later": 2}
    finally:
        writer.close()


def told(error: BaseException) -> str:
    """Everything that a log may show of an exception."""
    return f"{error!s} {error!r} {''.join(traceback.format_exception(type(error), error, error.__traceback__))}"


@pytest.mark.parametrize(
    ("login", "path", "words", "cure"),
    [
        ("reader:wr0ng@", "/0", "WRONGPASS|invalid username-password", "password"),
        ("nobody:wr0ng@", "/0", "WRONGPASS|invalid username-password", "user name"),
        ("", "/99", "DB index is out of range", "database"),
    ],
)
def test_refused_at_once(
    bench: RedisBench, seen: Recorder, caplog: pytest.LogCaptureFixture, login: str, path: str, words: str, cure: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        consumer = bench.consumer(seen, url=at(bench.server, login, path))
        assert isinstance(consumer, ResultConsumer)
        with pytest.raises(ConnectionLost, match=words) as caught:
            consumer.start("a")
    assert caught.value.permanent
    assert cure in (caught.value.cure or "")
    assert cure in str(caught.value)
    assert "wr0ng" not in told(caught.value) + caplog.text + repr(consumer) + repr(consumer.address)
    assert bench.connections() == 0


@pytest.mark.parametrize(("user", "words"), [("deaf", "channel"), ("blind", "mget")])
def test_denied_channel_or_command(bench: RedisBench, seen: Recorder, user: str, words: str) -> None:
    options = RedisOptions(username=user, password=SECRET)
    consumer = bench.consumer(seen, options=options, auto_reconnect=False)
    consumer.start("a")
    with pytest.raises(ConnectionLost, match=f"(?i){words}") as caught:
        drain_until(consumer, lambda: False)
    assert caught.value.permanent
    assert "+subscribe" in (caught.value.cure or "")
    assert SECRET not in told(caught.value)


def test_a_permanent_refusal_ends_the_draining(bench: RedisBench, seen: Recorder) -> None:
    """Trying again is vain, and would keep the server busy refusing."""
    before = int(bench.writer.client.info("stats")["total_connections_received"])
    consumer = bench.consumer(seen, url=at(bench.server, "reader:wr0ng@"))
    with pytest.raises(ConnectionLost):
        consumer.start("a")
    with pytest.raises(ConnectionLost, match="password"):
        consumer.drain_events(timeout=1.0)
    assert int(bench.writer.client.info("stats")["total_connections_received"]) - before <= 4


def test_a_password_that_changes_later_is_an_outage(server: RedisServer, bench: RedisBench, seen: Recorder) -> None:
    with server.client() as client:
        client.acl_setuser(
            "rotated", enabled=True, passwords=["+first"], reset_channels=True, channels=["*"], **ALLOWED
        )
        consumer = bench.consumer(seen, options=RedisOptions(username="rotated", password="first"))
        consumer.start("a")
        drain_until(consumer, lambda: consumer.synced)
        client.acl_setuser(
            "rotated", enabled=True, passwords=["+second", "-first"], reset_channels=True, channels=["*"], **ALLOWED
        )
        with pytest.raises(ConnectionLost, match="password") as caught:
            consumer.reconnect()
        assert not caught.value.permanent


def test_nobody_listens(seen: Recorder) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        consumer = ResultConsumer(f"redis://:{SECRET.replace('/', '')[:6]}@127.0.0.1:{bound.getsockname()[1]}/0")
        with pytest.raises(ConnectionLost) as caught:
            consumer.start("a")
        assert not caught.value.permanent
        assert str(bound.getsockname()[1]) in str(caught.value)
        assert SECRET[:6] not in told(caught.value)


def test_a_server_that_accepts_and_says_nothing() -> None:
    """A connect attempt ends after ``connect_timeout`` seconds, whatever the kernel of the other side accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        consumer = ResultConsumer(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", connect_timeout=0.2)
        with pytest.raises(ConnectionLost) as caught:
            consumer.start("a")
        assert not caught.value.permanent
        assert not consumer.connected
