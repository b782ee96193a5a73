"""Following: the states of several tasks, and how it all ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.diagnosis import Following
from bgresults.diagnosis.redis_server import watched_ids
from bgresults.diagnosis.settings import new_consumer
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20


@pytest.fixture
def writer(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


@pytest.fixture
def watcher(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as made:
        yield made


def test_states_of_several_tasks(watcher: ResultWatcher, writer: ResultWriter) -> None:
    first, second = new_ids(2)
    following = Following(watcher, [first, second, first], timeout=WAIT)
    told = Caller(lambda: [(state.task_id, state.status, state.result) for state in following])
    wait_until(lambda: writer.channels() == {first, second}, "the subscriptions")
    writer.write(first, {"done": 1}, "PROGRESS")
    writer.write(second, 2)
    writer.write(first, 1)
    assert told.outcome(WAIT) == [(first, "PROGRESS", {"done": 1}), (second, "SUCCESS", 2), (first, "SUCCESS", 1)]
    assert (following.exit_code, following.pending, following.errors) == (0, [], {})
    assert {task_id: state.result for task_id, state in following.finals.items()} == {first: 1, second: 2}


def test_what_was_there_before(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_id()
    writer.write(task_id, "stored")
    following = Following(watcher, [task_id], timeout=WAIT)
    assert [state.result for state in following] == ["stored"]
    assert following.exit_code == 0


@pytest.mark.parametrize(("status", "outcome", "code"), [("FAILURE", "failed", 1), ("REVOKED", "revoked", 4)])
def test_a_failure_counts_more_than_a_success(
    watcher: ResultWatcher, writer: ResultWriter, status: str, outcome: str, code: int
) -> None:
    good, bad = new_ids(2)
    writer.write(good, 1)
    described = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
    writer.write(bad, described, status)
    following = Following(watcher, [bad, good], timeout=WAIT)
    assert {state.status for state in following} == {"SUCCESS", status}
    assert (following.outcome, following.exit_code) == (outcome, code)


def test_time_is_up(watcher: ResultWatcher, writer: ResultWriter) -> None:
    done, never = new_ids(2)
    writer.write(done, 1)
    # Time enough to be told of the one that has ended, also on a machine that is busy.
    assert watcher.wait_ready(WAIT)
    following = Following(watcher, [done, never], timeout=2)
    assert [state.task_id for state in following] == [done]
    assert following.pending == [never]
    assert following.exit_code == 124
    wait_until(lambda: not writer.channels(), "the end of the watch")


def test_time_is_up_and_there_is_no_server() -> None:
    with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0") as watcher:
        following = Following(watcher, [new_id()], timeout=0.1)
        assert list(following) == []
    assert (following.outcome, following.exit_code) == ("unavailable", 5)


def test_the_server_is_given_up() -> None:
    retry = RetryPolicy(initial=0.01, give_up_after=0.05)
    with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0", retry=retry) as watcher:
        following = Following(watcher, [new_id()], timeout=WAIT)
        assert list(following) == []
    assert (following.outcome, following.exit_code) == ("unavailable", 5)


def test_leaving_early_ends_the_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    first, second = new_ids(2)
    writer.write(first, 1)
    for _ in Following(watcher, [first, second]):
        break
    wait_until(lambda: watcher.pending == 0 and not writer.channels(), "the end of the watch")


def test_the_waiting_goes_wrong(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id, bad_id = new_ids(2)
    writer.write_body(bad_id, b"no JSON")
    following = Following(watcher, [task_id, bad_id], timeout=WAIT)
    told = Caller(lambda: list(following))
    wait_until(lambda: writer.channels() == {task_id} and bad_id in following.errors, "the one to be refused")
    watcher.close()
    assert told.outcome(WAIT) == []
    assert isinstance(following.errors[task_id], WatcherClosedError)
    assert following.exit_code == 3
    closed = Following(watcher, [task_id])
    assert list(closed) == []
    assert isinstance(closed.errors[task_id], WatcherClosedError)


def test_how_many_ids_all_processes_watch(watcher: ResultWatcher, writer: ResultWriter) -> None:
    futures = watcher.watch_many(new_ids(3))
    wait_until(lambda: len(writer.channels()) == 3, "the subscriptions")
    assert watched_ids(new_consumer(watcher)) == 3
    for future in futures:
        future.cancel()


def test_bad_arguments(watcher: ResultWatcher) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Following(watcher, ["id"], timeout=-1)
    with pytest.raises(TypeError, match="task_id"):
        Following(watcher, [5])
