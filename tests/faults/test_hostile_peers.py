"""Whoever answers in place of a Redis: the thread survives it, in bounded memory, and works when the server is back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from bgresults import RedisOptions, ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.consumers.redis import deadlines, readers
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.peers import Behaviour, Peer, afterwards, dripping, endless, once
from tests.support.results import ResultWriter, new_id

WAIT = 30
FAST = RetryPolicy(initial=0.01, maximum=0.05)
# Seconds, in which nobody hears more of a peer that drips.
SOON = 0.3
MIB = 1024 * 1024


def redis_like(received: bytes) -> bytes:
    """Lets everybody in, and confirms the subscription to one channel."""
    answers = []
    for command in received.split(b"*")[1:]:
        words = command.split(b"\r\n")
        name = words[2]
        if name == b"SUBSCRIBE":
            answers.append(b"*3\r\n$9\r\nsubscribe\r\n%s\r\n%s\r\n:1\r\n" % (words[3], words[4]))
        elif name == b"MGET":
            answers.append(b"*1\r\n$-1\r\n")
        else:
            answers.append(b"+PONG\r\n" if name == b"PING" else b"+OK\r\n")
    return b"".join(answers)


AT_ONCE: dict[str, Behaviour] = {
    "silence": once(b""),
    "garbage": once(bytes(range(128, 256))),
    "another protocol": once(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "a truncated answer": once(b"$5\r\nab"),
    "wrong types": once(b":1\r\n" * 4),
    "nil": once(b"$-1\r\n*-1\r\n"),
    "errors": once(b"-ERR no\r\n" * 4),
    "pushes": once(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"),
    "a terabyte announced": once(b"$1099511627776\r\nx"),
    "a billion items announced": once(b"*4000000000\r\n:1\r\n"),
    "an endless line": endless(b"x", b"+"),
    "an endless bulk": endless(b"x", b"$1099511627776\r\n"),
    "endless answers": endless(b"+OK\r\n"),
    "endless messages": endless(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"),
    "endless nesting": endless(b"*1\r\n"),
    "a line that drips": dripping(b"x", 0.02, b"+"),
    "answers that drip": dripping(b"+OK\r\n", 0.02),
}
LATER: dict[str, Behaviour] = {
    f"{name}, {word.decode()}": afterwards(redis_like, word, AT_ONCE[name])
    for word in (b"SUBSCRIBE", b"MGET")
    for name in (
        "garbage",
        "wrong types",
        "pushes",
        "a terabyte announced",
        "a billion items announced",
        "an endless bulk",
        "endless nesting",
        "endless answers",
        "a line that drips",
    )
}
BEHAVIOURS = {**AT_ONCE, **LATER}


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as found:
        return int(found.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def watcher_of(url: str) -> Iterator[ResultWatcher]:
    """A database other than 0 is chosen in a handshake, which is redis-py's."""
    options = RedisOptions(read_timeout=SOON, health_check_interval=SOON)
    with ResultWatcher(url, redis=options, retry=FAST, connect_timeout=SOON) as made:
        yield made
        assert made.closed or made.stats().thread_alive
        made.close()
        assert not made.stats().thread_alive, "the thread was held up"


# The others take longer, and are much like these.
QUICK = {
    "garbage",
    "an endless line",
    "endless answers",
    "an endless bulk, MGET",
    "a line that drips, SUBSCRIBE",
    "a handshake that drips",
}


def slow_ones_marked(names: Iterable[str]) -> list[Any]:
    """As parameters."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_ones_marked(BEHAVIOURS))
@pytest.mark.parametrize("parser", ["hiredis", pytest.param("redis-py", marks=pytest.mark.slow)])
def test_until_the_server_is_back(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, parser: str, name: str
) -> None:
    monkeypatch.setattr(deadlines, "LARGEST_ANSWER", 16 * MIB)
    monkeypatch.setattr(deadlines, "PATIENCE", SOON)
    if parser == "redis-py":
        monkeypatch.setattr(readers, "hiredis", None)
    writer = ResultWriter(redis_server, db=1)
    with Peer(BEHAVIOURS[name]) as peer, watcher_of(f"redis://127.0.0.1:{peer.port}/1") as watcher:
        before = resident()
        future = watcher.watch(new_id())
        wait_until(lambda: peer.connections >= 6, "the third attempt", WAIT)
        assert resident() - before < 100 * MIB
        assert not future.done()
        peer.become(redis_server.port)
        writer.write(future.task_id, 1)
        assert future.result(WAIT) == 1
    writer.close()


@pytest.mark.tls
@pytest.mark.parametrize(
    "name", slow_ones_marked(["silence", "garbage", "answers that drip", "a handshake that drips"])
)
def test_a_tls_handshake_without_an_end(name: str) -> None:
    """The beginning of a record of 16 KiB, which takes its time."""
    behaviours = {**BEHAVIOURS, "a handshake that drips": dripping(b"\x16\x03\x03\x40\x00" + b"x" * 1000, 0.02)}
    with Peer(behaviours[name]) as peer, watcher_of(f"rediss://localhost:{peer.port}/0") as watcher:
        future = watcher.watch(new_id())
        wait_until(lambda: peer.connections >= 3, "the third attempt", WAIT)
        assert not future.done()


@pytest.mark.parametrize("name", slow_ones_marked(["an endless line", "a line that drips", "endless messages"]))
def test_closing_meanwhile(name: str) -> None:
    with Peer(BEHAVIOURS[name]) as peer, watcher_of(f"redis://127.0.0.1:{peer.port}/1") as watcher:
        future = watcher.watch(new_id())
        wait_until(lambda: peer.connections >= 1, "an attempt")
        watcher.close()
        assert isinstance(future.exception(WAIT), WatcherClosedError)
