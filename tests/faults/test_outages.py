"""The server goes away, comes back, refuses: what becomes of futures that are pending then."""

from __future__ import annotations

import logging
import threading

import pytest

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher, RetryPolicy
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_ids, state_body
from tests.support.sockets import connections
from tests.support.timeouts import times_out_in_time

WAIT = 30


def test_killed_and_started_again(
    watcher: ResultWatcher, writer: ResultWriter, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Pending ids survive, new ones are welcome meanwhile, timeouts stay exact; one WARNING and one INFO tell of it."""
    caplog.set_level(logging.INFO, logger="bgresults")
    before = watcher.watch_many(new_ids(50))
    wait_until(lambda: len(writer.channels()) == 50, "the subscriptions")
    # Subscribed is not caught up: what ends before that is no connection that was lost.
    assert watcher.wait_ready(WAIT)
    base = connections(own_redis.port)
    own_redis.kill()
    wait_until(lambda: not watcher.connected, "the outage to be noticed")
    during = watcher.watch_many(new_ids(50))
    for timeout in (0, 0.05, 0.5):
        assert times_out_in_time(during[0], timeout)
    assert before[0].cancel()
    assert connections(own_redis.port) <= base
    own_redis.start()
    assert watcher.wait_ready(WAIT)
    wait_until(lambda: len(writer.channels()) == 99, "the subscriptions of those that are left")
    for future in [*before[1:], *during]:
        writer.write(future.task_id, future.task_id)
    assert [future.result(WAIT) for future in before[1:] + during] == [f.task_id for f in before[1:] + during]
    assert watcher.stats().reconnects == 1
    levels = [record.levelname for record in caplog.records if record.name.startswith("bgresults")]
    assert levels == ["WARNING", "INFO"]


def test_what_is_stored_while_away_is_found(
    watcher: ResultWatcher, writer: ResultWriter, own_redis: RedisServer
) -> None:
    """The connection is killed in the same transaction in which the results are published: nobody hears them."""
    futures = watcher.watch_many(new_ids(300))
    wait_until(lambda: len(writer.channels()) == 300, "the subscriptions")
    # Or the next connection would be the first one that everything has been read over.
    assert watcher.wait_ready(WAIT)
    with writer.client.pipeline(transaction=True) as pipeline:
        pipeline.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for number, future in enumerate(futures):
            body = state_body(future.task_id, result=number)
            pipeline.set(writer.key(future.task_id), body, ex=600)
            pipeline.publish(writer.key(future.task_id), body)
        pipeline.execute()
    assert [future.result(WAIT) for future in futures] == list(range(300))
    assert watcher.stats().recovered > 0
    # It is counted when all has been caught up with: a moment after the last result.
    wait_until(lambda: watcher.stats().reconnects >= 1, "the count")


def test_the_server_is_not_there_at_first(free_server: RedisServer) -> None:
    with ResultWatcher(free_server.url()) as watcher:
        future = watcher.watch("early")
        assert not watcher.wait_ready(0.2)
        free_server.start()
        assert watcher.wait_ready(WAIT)
        results = ResultWriter(free_server)
        results.write("early", 1)
        assert future.result(WAIT) == 1
        assert watcher.stats().reconnects == 0
        results.close()


@pytest.fixture
def free_server(own_redis: RedisServer) -> RedisServer:
    """A server that is not running, whose port is free."""
    own_redis.kill()
    return own_redis


def test_failing_fast(own_redis: RedisServer, writer: ResultWriter) -> None:
    with ResultWatcher(own_redis.url(), on_disconnect="fail") as watcher:
        future = watcher.watch(new_ids(1)[0])
        called = threading.Event()
        future.add_done_callback(lambda _: called.set())
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
        assert watcher.wait_ready(WAIT)
        own_redis.kill()
        assert isinstance(future.exception(WAIT), BackendUnavailableError)
        assert called.wait(WAIT)
        late = watcher.watch(new_ids(1)[0])
        assert late.done(), "while it is away, a new one has failed already"
        assert isinstance(late.exception(0), BackendUnavailableError)
        assert watcher.pending == 0
        own_redis.start()
        assert watcher.wait_ready(WAIT)
        again = watcher.watch(new_ids(1)[0])
        writer.write(again.task_id, "back")
        assert again.result(WAIT) == "back"


def test_failing_fast_waits_for_the_first_attempt(own_redis: RedisServer, writer: ResultWriter) -> None:
    with ResultWatcher(own_redis.url(), on_disconnect="fail") as watcher:
        writer.store("id", 1)
        assert watcher.watch("id").result(WAIT) == 1
    with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0", on_disconnect="fail") as watcher:
        assert isinstance(watcher.watch("id").exception(WAIT), BackendUnavailableError)


def test_giving_up(own_redis: RedisServer, writer: ResultWriter) -> None:
    """After give_up_after seconds pending futures fail; a later use finds out that the server is back."""
    policy = RetryPolicy(initial=0.01, maximum=0.05, give_up_after=0.3)
    with ResultWatcher(own_redis.url(), retry=policy) as watcher:
        assert watcher.wait_ready(WAIT)
        own_redis.kill()
        future = watcher.watch(new_ids(1)[0])
        error = future.exception(WAIT)
        assert isinstance(error, BackendUnavailableError)
        assert "gave up after 0.3 s" in str(error)
        assert watcher.stats().state == "failed"
        with pytest.raises(BackendUnavailableError):
            watcher.wait_ready(WAIT)
        own_redis.start()

        def is_back() -> bool:
            probe = watcher.watch("probe")
            return not probe.done()

        wait_until(is_back, "the probe that a watch asks for")
        writer.write("probe", 1)
        assert watcher.watch("probe").result(WAIT) == 1


@pytest.mark.parametrize(
    ("url", "options", "words", "cure"),
    [
        ("redis://127.0.0.1:{port}/99", RedisOptions(), "DB index is out of range", "database"),
        ("redis://:wrong-secret@127.0.0.1:{port}/0", RedisOptions(), "", "password"),
        (
            "redis://127.0.0.1:{port}/0",
            RedisOptions(username="nobody", password="wrong-secret"),
            "invalid username-password pair",
            "password",
        ),
    ],
)
def test_a_refusal_before_the_first_success_is_final(
    own_redis: RedisServer, url: str, options: RedisOptions, words: str, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, with the server's words and the cure, and without the password."""
    with ResultWatcher(url.format(port=own_redis.port), redis=options) as watcher:
        future = watcher.watch("id")
        error = future.exception(WAIT)
        assert isinstance(error, BackendUnavailableError)
        assert words in str(error)
        assert cure in str(error)
        with pytest.raises(BackendUnavailableError):
            watcher.wait_ready(WAIT)
        late = watcher.watch("id")
        assert late.done()
        assert late.exception(0) is not error
        assert watcher.pending == 0
        for text in (str(error), repr(error), repr(watcher), repr(options), caplog.text):
            assert "wrong-secret" not in text


def test_a_refusal_that_is_mended(own_redis: RedisServer, writer: ResultWriter) -> None:
    """The watcher need not be made anew: somebody who uses it finds out."""
    own_redis_url = f"redis://app:secret@127.0.0.1:{own_redis.port}/0"
    with ResultWatcher(own_redis_url, retry=RetryPolicy(initial=0.01, maximum=0.05)) as watcher:
        assert isinstance(watcher.watch("id").exception(WAIT), BackendUnavailableError)
        writer.client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")
        writer.write("id", 1)
        wait_until(lambda: watcher.watch("id").exception(WAIT) is None, "the probe")
        assert watcher.watch("id").result(WAIT) == 1


@pytest.mark.parametrize("denied", ["-subscribe", "-mget", "resetchannels"])
def test_a_denied_command_or_channel(own_redis: RedisServer, writer: ResultWriter, denied: str) -> None:
    writer.client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", denied)
    with ResultWatcher(f"redis://app:secret@127.0.0.1:{own_redis.port}/0") as watcher:
        error = watcher.watch("id").exception(WAIT)
        assert isinstance(error, BackendUnavailableError)
        assert "+subscribe" in str(error)
        assert watcher.stats().state == "failed"


def test_a_frozen_server(own_redis: RedisServer, writer: ResultWriter) -> None:
    """Connected, and silent: found by PING, and over when it goes on."""
    options = RedisOptions(health_check_interval=0.2, read_timeout=0.3)
    with ResultWatcher(own_redis.url(), redis=options, connect_timeout=0.3) as watcher:
        future = watcher.watch(new_ids(1)[0])
        wait_until(lambda: len(writer.channels()) == 1, "the subscription")
        own_redis.pause()
        try:
            wait_until(lambda: not watcher.connected, "the silence to be noticed")
            assert times_out_in_time(future, 0.1)
            assert connections(own_redis.port) <= 3, "two of the watcher, one of the writer"
        finally:
            own_redis.resume()
        writer.write(future.task_id, "thawed")
        assert future.result(WAIT) == "thawed"
