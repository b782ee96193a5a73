"""Servers, and values in them, that are not what they should be."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bgresults import BackendUnavailableError, RedisOptions, ResultDecodeError, ResultWatcher, RetryPolicy
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20
# At the end of an answer: the last one.
HANG_UP = b"(hang up)"
FAST = RetryPolicy(initial=0.01, maximum=0.05)


@contextmanager
def fake_server(answer: Callable[[bytes], bytes | None]) -> Iterator[tuple[str, list[int]]]:
    """A server that answers what it receives with ``answer(received)``, and hangs up where that is None.

    Gives its URL, and a list of one number: how many connections there have been.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    connections = [0]
    open_ones: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while received := connection.recv(65536):
                    reply = answer(received)
                    if reply is None:
                        return
                    connection.sendall(reply.removesuffix(HANG_UP))
                    if reply.endswith(HANG_UP):
                        return
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections[0] += 1
            open_ones.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_ones:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in threads:
            thread.join(WAIT)


def redis_like(received: bytes) -> bytes:
    """PONG, and a confirmation of a SUBSCRIBE to one channel."""
    if b"PING" in received:
        return b"+PONG\r\n"
    if b"SUBSCRIBE" in received:
        channel = received.split(b"\r\n")[4]
        return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(channel), channel)
    return b"*1\r\n$-1\r\n"


@pytest.mark.parametrize(
    "mget",
    [
        b"*0\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b":5\r\n",
        b"*1\r\n:5\r\n",
        b"*1\r\n*1\r\n:1\r\n",
        b"$3\r\nabc\r\n",
        b"!!\r\n",
    ],
)
def test_nonsense_instead_of_values(mget: bytes) -> None:
    """The connection is lost, the thread goes on, and the future waits for a better one."""
    with (
        fake_server(lambda received: mget if b"MGET" in received else redis_like(received)) as (url, connections),
        ResultWatcher(url, retry=FAST) as watcher,
    ):
        future = watcher.watch("id")
        wait_until(lambda: connections[0] >= 6, "more attempts")
        assert watcher.stats().thread_alive
        assert not future.done()


@pytest.mark.parametrize(
    "message",
    [
        b"*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n*0\r\n",
        b"*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
        b"*-1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_nonsense_instead_of_messages(message: bytes) -> None:
    def answer(received: bytes) -> bytes:
        return redis_like(received) + (message if b"SUBSCRIBE" in received else b"")

    with fake_server(answer) as (url, connections), ResultWatcher(url, retry=FAST) as watcher:
        future = watcher.watch("id")
        wait_until(lambda: connections[0] >= 6, "more attempts")
        assert watcher.stats().thread_alive
        assert not future.done()


def test_channels_that_nobody_asked_for() -> None:
    """Even one whose name is no text: counted, and that is all."""
    foreign = b"*3\r\n$7\r\nmessage\r\n$20\r\ncelery-task-meta-\xff\xfe\xfd\r\n$1\r\nx\r\n"

    def answer(received: bytes) -> bytes:
        return redis_like(received) + (foreign if b"SUBSCRIBE" in received else b"")

    with fake_server(answer) as (url, _), ResultWatcher(url) as watcher:
        future = watcher.watch("id")
        wait_until(lambda: watcher.stats().late == 1, "the foreign message")
        assert watcher.stats().reconnects == 0
        assert not future.done()


@pytest.mark.parametrize("last", [b"PING", b"MGET"])
def test_a_server_that_lets_in_and_hangs_up(last: bytes) -> None:
    """No hammering: the back-off grows although every attempt succeeds."""

    def answer(received: bytes) -> bytes:
        return redis_like(received) + (HANG_UP if last in received else b"")

    with fake_server(answer) as (url, connections), ResultWatcher(url) as watcher:
        future = watcher.watch("id")
        wait_until(lambda: connections[0] >= 4, "the first attempts")
        before = connections[0]
        assert not threading.Event().wait(1.0)
        assert connections[0] - before < 100
        assert not future.done()


def test_values_that_look_like_the_protocol(own_redis: RedisServer) -> None:
    writer, words, innocent = ResultWriter(own_redis), new_ids(4), new_ids(5)
    for task_id, word in zip(words, ["PONG", "pong", "message", "subscribe"], strict=True):
        writer.client.set(writer.key(task_id), word)
    for task_id in innocent:
        writer.store(task_id, 1)
    with ResultWatcher(own_redis.url()) as watcher:
        for task_id in words:
            assert isinstance(watcher.watch(task_id).exception(WAIT), ResultDecodeError)
        assert [future.result(WAIT) for future in watcher.watch_many(innocent)] == [1] * 5
        mixed = watcher.watch_many([*words, *innocent])
        assert [type(future.exception(WAIT)) for future in mixed] == [ResultDecodeError] * 4 + [type(None)] * 5
        assert watcher.stats().reconnects == 0
    writer.close()


def test_a_user_who_may_not_ping(own_redis: RedisServer) -> None:
    """Denied is an answer too: the link lives."""
    writer = ResultWriter(own_redis)
    writer.client.execute_command("ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-ping")
    options = RedisOptions(username="mute", password="secret", health_check_interval=0.1)
    with ResultWatcher(own_redis.url(), redis=options) as watcher:
        future = watcher.watch(new_id())

        def denied() -> int:
            entries: Any = writer.client.acl_log()
            return sum(int(entry["count"]) for entry in entries if entry["object"] == "ping")

        wait_until(lambda: denied() >= 10, "several health checks")
        writer.write(future.task_id, 1)
        assert future.result(WAIT) == 1
        assert watcher.stats().reconnects == 0
    writer.close()


def test_a_command_that_the_server_does_not_have() -> None:
    def answer(received: bytes) -> bytes:
        return b"-ERR unknown command 'MGET'\r\n" if b"MGET" in received else redis_like(received)

    with fake_server(answer) as (url, _), ResultWatcher(url) as watcher:
        error = watcher.watch("id").exception(WAIT)
        assert isinstance(error, BackendUnavailableError)
        assert "unknown command" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr/etpw@host:6379/0",
        "redis://:12/s3cretpw@host",
        "redis://:5?s3cretpw@host",
        "redis://:1#s3cretpw@host",
        "redis://:s3cretpw@host:port/0",
        "redis://:s3cretpw@a..b/0",
        "redis://:s3cretpw@host/zero",
        "redis://:s3cretpw@host/0?unknown=1",
        "redis://host/0?password=s3cretpw&db=x",
    ],
)
def test_a_wrong_url_shows_no_password(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        ResultWatcher(url)
    told = "".join(traceback.format_exception(caught.value))
    # The traceback quotes this test's source, not its values.
    assert not any(secret in told for secret in ("s3cr", "etpw"))


def test_a_right_one_shows_none_either() -> None:
    watcher = ResultWatcher("redis://user:s3cretpw@host/0", redis=RedisOptions(ssl_password="s3cretpw"))
    assert "s3cretpw" not in repr(watcher) + repr(watcher._settings) + repr(RedisOptions(password="s3cretpw"))


def test_what_the_drain_thread_needs_is_imported_before() -> None:
    """getaddrinfo() would import it, and an import that a fork comes into is locked in the child for ever."""
    program = "import sys, bgresults; bgresults.ResultWatcher('redis://h'); print('encodings.idna' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert ended.stdout.strip() == "True"


def test_tls_files_that_cannot_be_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    """At once, where they were named: not as an outage that never ends."""
    broken = tmp_path_factory.mktemp("tls") / "broken.pem"
    broken.write_text("no certificate")
    for options in (RedisOptions(ssl_ca_certs=str(broken)), RedisOptions(ssl_certfile=str(broken))):
        with pytest.raises(ValueError, match="ssl_"):
            ResultWatcher("rediss://host/0", redis=options)
    with pytest.raises(ValueError, match="no file"):
        ResultWatcher("rediss://host/0", redis=RedisOptions(ssl_ca_certs="/nowhere/ca.pem"))
