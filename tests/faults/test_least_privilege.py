"""The Redis user of SECURITY.md: with its rule everything works, and without any of its words something does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.outages import QUICK
from tests.support.results import ResultWriter, new_id
from tests.support.security import rules

# Asked for to be left out where there is no Redis at all.
pytestmark = pytest.mark.usefixtures("redis_server")

WAIT = 20
[RULE] = rules("ACL SETUSER web ")
WORDS = RULE[3:]

# What nobody has allowed the user.
FORBIDDEN = [
    ("SET", "celery-task-meta-x", "forged"),
    ("GET", "celery-task-meta-x"),
    ("DEL", "celery-task-meta-x"),
    ("PUBLISH", "celery-task-meta-x", "forged"),
    ("MGET", "another-key"),
    ("SUBSCRIBE", "another-channel"),
    ("PSUBSCRIBE", "celery-task-meta-*"),
    ("KEYS", "*"),
    ("CONFIG", "GET", "*"),
    ("PUBSUB", "CHANNELS"),
    ("EVAL", "return 1", 0),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """As older ones are by default: who has no rule about channels may use them all."""
    with RedisServer(args=["--acl-pubsub-default", "allchannels"]) as made:
        yield made


def troubles(server: RedisServer, words: list[str], *, db: int = 0, key_prefix: str = "") -> list[str]:
    """What is wrong with a user that was made with these words."""
    # There was one of that name before, who might do everything.
    server.acl("DELUSER", "web")
    server.acl("SETUSER", "web", "on", "nopass", "allkeys", "allchannels", "allcommands")
    try:
        server.acl("SETUSER", "web", *words)
    except RedisError as error:
        return [f"not accepted: {error}"]
    found = allowed(server)
    server.acl("LOG", "RESET")
    writer = ResultWriter(server, f"{key_prefix}_" if key_prefix else "", db)
    url = f"redis://web:secret@127.0.0.1:{server.port}/{db}"
    alert = RedisOptions(health_check_interval=0.05)
    try:
        with ResultWatcher(url, key_prefix=key_prefix, redis=alert, retry=QUICK) as watcher:
            everything(server, writer, watcher)
    except (AssertionError, BackendUnavailableError) as error:
        found.append(f"the watcher: {error}")
    finally:
        writer.close()
    found += [f"ACL LOG: {entry}" for entry in server.acl("LOG")]
    return found


def allowed(server: RedisServer) -> list[str]:
    """What the user may do, and should not."""
    found = []
    with redis.Redis(port=server.port, username="web", password="secret") as client:
        for command in FORBIDDEN:
            try:
                client.execute_command(*command)
            except NoPermissionError:
                continue
            except AuthenticationError as error:
                return [f"login: {error}"]
            found.append(f"allowed: {command}")
    return found


def everything(server: RedisServer, writer: ResultWriter, watcher: ResultWatcher) -> None:
    """Connect, read, subscribe, look whether the link is alive, unsubscribe, reconnect with and without ids."""
    stored = new_id()
    writer.store(stored, "stored")
    assert watcher.watch(stored).result(WAIT) == "stored"
    published, dropped, kept = (watcher.watch(new_id()) for _ in range(3))
    wait_until(lambda: len(writer.channels()) == 3, "the subscriptions")
    writer.publish(published.task_id, "published")
    assert published.result(WAIT) == "published"
    assert dropped.cancel()
    wait_until(lambda: writer.channels() == {kept.task_id}, "the end of a subscription", 5)
    looks = pings(server)
    wait_until(lambda: pings(server) > looks + 2, "somebody to look after a silent connection")
    server.command("CLIENT", "KILL", "USER", "web")
    wait_until(lambda: watcher.stats().reconnects == 1, "the reconnect")
    writer.write(kept.task_id, "kept")
    assert kept.result(WAIT) == "kept"
    wait_until(lambda: not writer.channels(), "nothing to be subscribed")
    server.command("CLIENT", "KILL", "USER", "web")
    wait_until(lambda: watcher.stats().reconnects == 2, "the reconnect with nothing to catch up with")
    assert watcher.wait_ready(WAIT)
    assert watcher.stats().reconnects == 2


def pings(server: RedisServer) -> int:
    statistics: dict[str, Any] = server.command("INFO", "commandstats")
    counted = statistics.get("cmdstat_ping", {"calls": 0, "rejected_calls": 0})
    return int(counted["calls"]) + int(counted["rejected_calls"])


def test_as_written(server: RedisServer) -> None:
    assert troubles(server, WORDS) == []


@pytest.mark.slow
@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_needed(server: RedisServer, word: str) -> None:
    assert troubles(server, [other for other in WORDS if other != word])


@pytest.mark.slow
def test_with_a_prefix(server: RedisServer) -> None:
    words = [word.replace("celery-task-meta-", "myapp_celery-task-meta-") for word in WORDS]
    assert troubles(server, words, key_prefix="myapp") == []
    assert troubles(server, WORDS, key_prefix="myapp")


def test_another_database(server: RedisServer) -> None:
    assert troubles(server, [*WORDS, "+select"], db=1) == []
    assert troubles(server, WORDS, db=1)
