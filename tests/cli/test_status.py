"""bgresults status: is it connected, is it keeping up, who waits for what since when, what was lost."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults import ResultWatcher, RetryPolicy
from bgresults.diagnosis import serve_status
from bgresults.status import wanted
from bgresults.testing import RedisServer
from tests.cli.running import run
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20
QUICK = RetryPolicy(initial=0.01, maximum=0.05)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this process answers."""
    for name, value in (("_said", False), ("_folder", None)):
        monkeypatch.setattr(wanted, name, value)
    with tempfile.TemporaryDirectory(prefix="bgr-") as made:
        serve_status(made)
        yield Path(made)
        serve_status(None)


@pytest.fixture
def watcher(folder: Path, redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix, retry=QUICK) as made:
        assert made.wait_ready(WAIT)
        yield made


def test_the_four_questions(watcher: ResultWatcher, writer: ResultWriter, folder: Path) -> None:
    task_id, *others = new_ids(3)

    def view() -> object:
        return watcher.watch(task_id).result(WAIT)

    waiting = Caller(view)
    wait_until(lambda: writer.channels() == {task_id}, "the watch")
    waiting.until_blocked()
    futures = watcher.watch_many(others)
    wait_until(lambda: len(writer.channels()) == 3, "the others")
    code, text, errors = run("status", "--dir", str(folder), "--ids", "2")
    writer.write(task_id, 1)
    waiting.outcome(WAIT)
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[1].startswith(f"  ok connected: to {watcher.health().address} since ")
    # Not necessarily "ok" on a machine that has much else to do.
    assert " keeping up: " in lines[2]
    assert "its thread answered in " in lines[2]
    assert lines[3].startswith("  ok waiting: 3 futures, the oldest for ")
    assert lines[4].startswith(f"     {task_id}  ")
    assert f"  {waiting.thread.name} in view(), test_status.py:" in lines[4]
    assert lines[5].startswith(f"     {others[0]}  ")
    assert lines[6:] == ["     … and ids that are younger (2 of 3 are shown)", "  ok last outage: none"]
    del futures


def test_in_the_environment(watcher: ResultWatcher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGRESULTS_STATUS_DIR", str(folder))
    code, text, _ = run("status")
    assert code == 0
    assert "  ok waiting: nobody" in text


def test_a_callback_that_holds_everything_up(watcher: ResultWatcher, writer: ResultWriter, folder: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow_callback(_future: object) -> None:
        entered.set()
        leave.wait(WAIT)

    task_id = new_id()
    watcher.watch(task_id).add_done_callback(slow_callback)
    writer.write(task_id, 1)
    assert entered.wait(WAIT)
    try:
        code, text, _ = run("status", "--dir", str(folder))
    finally:
        leave.set()
    assert code == 1
    assert "  XX keeping up: no, its thread does not answer; " in text
    assert "slow_callback()" in text


def test_during_an_outage_and_after_it(folder: Path, own_redis: RedisServer) -> None:
    with ResultWatcher(own_redis.url(), retry=QUICK) as watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        own_redis.kill()
        wait_until(lambda: not watcher.health().healthy, "the outage")
        code, text, _ = run("status", "--dir", str(folder))
        assert code == 1
        assert "  XX connected: no, " in text
        assert "  !! last outage: since " in text
        assert "1 future waited then, 0 results recovered, 0 given up, 0 expired, 1 waiting now" in text
        own_redis.start()
        wait_until(lambda: watcher.health().healthy, "the end of the outage")
        code, text, _ = run("status", "--dir", str(folder), "--url", own_redis.url())
        assert code == 0
        assert "; 1 reconnect in all" in text
        assert "1 still waiting then" in text
        assert "  ok server: Redis " in text
        assert "  !! restarted: it was started at about " in text
        assert "whoever still waits for one waits in vain" in text
        assert not future.done()


def test_what_the_server_knows(watcher: ResultWatcher, writer: ResultWriter, at: list[str]) -> None:
    ids = sorted(new_ids(3))
    futures = watcher.watch_many(ids)
    wait_until(lambda: len(writer.channels()) == 3, "the subscriptions")
    code, text, _ = run("status", *at, "--ids", "1")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == at[1]
    at_ids = lines.index("  ok watched: 3 ids, by all processes together")
    assert lines[at_ids + 1 : at_ids + 3] == [f"     {ids[0]}", "     … and 2 more"]
    assert any(": 3 ids, connected for " in line for line in lines)
    del futures


def test_a_worker_whose_broker_this_is_reads_no_results(redis_server: RedisServer, at: list[str]) -> None:
    """What it subscribes to is a pattern."""
    with redis_server.client() as client, client.pubsub() as worker:
        worker.psubscribe("/0.celeryev/*")
        assert worker.get_message(timeout=10) is not None
        patterns_alone = {each["addr"] for each in client.client_list(_type="pubsub") if each["sub"] == "0"}
        told = json.loads(run("status", *at, "--json").output)
    assert patterns_alone
    assert patterns_alone.isdisjoint(reader["address"] for reader in told["server"]["subscribers"])


def test_connections_are_those_of_a_process(
    watcher: ResultWatcher, writer: ResultWriter, at: list[str], folder: Path
) -> None:
    future = watcher.watch(new_id())
    wait_until(writer.channels, "the subscription")
    told = json.loads(run("status", *at, "--dir", str(folder), "--json").output)
    (process,) = told["processes"]
    own = process["status"]["watchers"][0]["pace"]["connections"]
    assert told["ok"] is True
    assert len([reader for reader in told["server"]["subscribers"] if reader["address"] in own]) == 1
    text = run("status", *at, "--dir", str(folder)).output
    assert f" ({process['process']}): 1 id" in text
    del future


@pytest.mark.parametrize(
    ("rights", "told", "readers"),
    [
        ([], "-- watched: the ids are not told to this user (PUBSUB CHANNELS)", "(CLIENT LIST)"),
        # As on-call.md says.
        (["+info", "+pubsub|channels", "+client|list"], "ok watched: 1 id, by all processes together", "ok reader"),
    ],
)
def test_what_a_user_may_ask(
    watcher: ResultWatcher, writer: ResultWriter, key_prefix: str, rights: list[str], told: str, readers: str
) -> None:
    future = watcher.watch(new_id())
    wait_until(writer.channels, "the watch")
    port = writer.client.get_connection_kwargs()["port"]
    writer.client.execute_command("ACL", "SETUSER", "curious", "on", ">sesame", *rights)
    try:
        url = f"redis://curious:sesame@127.0.0.1:{port}"
        code, text, _ = run("status", "--url", url, "--key-prefix", key_prefix)
    finally:
        writer.client.execute_command("ACL", "DELUSER", "curious")
    assert code == 0
    assert told in text
    assert readers in text
    assert ("not told to this user" in text) == (not rights)
    del future


@pytest.mark.rabbitmq
def test_the_queue_of_a_process(folder: Path, rabbitmq_url: str) -> None:
    with ResultWatcher(rabbitmq_url) as watcher:
        queue = watcher.reply_to
        code, text, _ = run("status", "--dir", str(folder), "--url", rabbitmq_url)
        assert code == 0
        assert f"  ok reply queue: {queue}: 0 messages that nobody has taken, 1 reader" in text
        code, text, _ = run("status", "--url", rabbitmq_url, "--queue", "no-such-queue", "--queue", str(queue))
        assert code == 1
        assert "  XX reply queue: no-such-queue: NOT_FOUND" in text
        assert f"  ok reply queue: {queue}: " in text


class TestNobody:
    def test_answers(self, tmp_path: Path) -> None:
        code, text, _ = run("status", "--dir", str(tmp_path))
        assert code == 1
        assert "XX processes: no process answers there" in text

    def test_lives(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere-5.sock").touch()
        code, text, _ = run("status", "--dir", str(tmp_path))
        assert code == 0
        assert text.startswith("elsewhere-5\n  !! gone: it has ended without a word")

    def test_has_a_server(self) -> None:
        code, text, errors = run("status", "--url", f"redis://:sesame@127.0.0.1:{CLOSED_PORT}")
        assert code == 1
        assert "  XX server: " in text
        assert "sesame" not in text + errors

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            ([], "who shall be asked? Give --dir (BGRESULTS_STATUS_DIR)"),
            (["--dir", "/no/such/directory"], "what the processes have as BGRESULTS_STATUS_DIR"),
            (["--url", "http://:sesame@127.0.0.1"], "url 'http://:***@127.0.0.1'"),
            (["--app", "no.such.module"], "--app no.such.module: it cannot be had"),
        ],
    )
    def test_was_named(self, words: list[str], complaint: str) -> None:
        code, text, errors = run("status", *words)
        assert (code, text) == (2, "")
        assert errors.startswith("Usage: bgresults status")
        assert complaint in errors
