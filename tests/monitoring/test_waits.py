"""When an observer is told that waits have ended: together where they end together, and never later than a callback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bgresults import ResultWatcher, RetryPolicy, WatchExpiredError
from bgresults.observing import observe, unobserve
from bgresults.tally import Tally
from bgresults.waits import Ending, WatchCall
from tests.monitoring.conftest import NAME
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids, state_body
from tests.support.waiting import wait_until

WAIT = 20


class Recorder:
    """Notes each call of ``ended()``: what was noted of the call of ``watch()``, and the ids with their outcomes."""

    def __init__(self) -> None:
        self.told: list[tuple[int, list[tuple[str, str]]]] = []
        self._calls = 0

    def started(self, session: Any) -> None:
        """Nothing to note."""

    def begun(self, session: Any, count: int) -> int:
        self._calls += 1
        return self._calls

    def ended(self, note: int, call: WatchCall, ended_at: float, endings: Sequence[Ending]) -> None:
        self.told.append((note, [(wait.task_id, outcome) for wait, outcome, _, _ in endings]))

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Of whose end it was told, and how they ended."""
        return [ending for _, endings in self.told for ending in endings]

    @property
    def ids(self) -> list[str]:
        """Of whose end it was told."""
        return [task_id for task_id, _ in self.outcomes]


@pytest.fixture
def recorder(watcher: ResultWatcher) -> Iterator[Recorder]:
    made = Recorder()
    observe(made, watcher)
    yield made
    unobserve(made)


def test_those_that_end_together_are_told_of_together(
    watcher: ResultWatcher, writer: ResultWriter, recorder: Recorder
) -> None:
    ids = new_ids(100)
    for task_id in ids:
        writer.write(task_id, 1)
    futures = watcher.watch_many(ids)
    assert [future.result(WAIT) for future in futures] == [1] * 100
    wait_until(lambda: len(recorder.ids) == 100, "all is told")
    assert recorder.ids == ids
    # As many as have been read together, and the first read is a small one.
    assert len(recorder.told) <= 10


def test_each_call_has_its_own_note(watcher: ResultWatcher, writer: ResultWriter, recorder: Recorder) -> None:
    ids = new_ids(4)
    first, second = watcher.watch_many(ids[:2]), watcher.watch_many(ids[2:])
    # In one transaction, so that all come at once.
    writer.write_all({task_id: state_body(task_id) for task_id in (ids[0], ids[2], ids[1], ids[3])})
    for future in (*first, *second):
        future.result(WAIT)
    wait_until(lambda: len(recorder.ids) == 4, "all is told")
    notes = {task_id: note for note, endings in recorder.told for task_id, _ in endings}
    assert notes == {ids[0]: 1, ids[1]: 1, ids[2]: 2, ids[3]: 2}


def test_what_has_ended_does_not_wait_for_a_callback(
    watcher: ResultWatcher, writer: ResultWriter, recorder: Recorder
) -> None:
    ids = new_ids(2)
    told: list[list[str]] = []
    _first, second = watcher.watch_many(ids)
    second.add_done_callback(lambda _future: told.append(recorder.ids))
    # In one transaction, so that both come at once.
    writer.write_all({task_id: state_body(task_id) for task_id in ids})
    wait_until(lambda: told, "the callback ran")
    assert told == [ids]


def test_in_an_outage_the_end_is_told_of_without_waiting_for_the_next_attempt(recorder: Recorder) -> None:
    url = f"redis://127.0.0.1:{CLOSED_PORT}/0"
    with ResultWatcher(url, retry=RetryPolicy(initial=600, maximum=600)) as watcher:
        observe(recorder, watcher)
        cancelled = watcher.watch(new_id())
        wait_until(lambda: watcher.stats().state == "backoff", "the first attempt failed")
        cancelled.cancel()
        wait_until(lambda: recorder.outcomes == [(cancelled.task_id, "cancelled")], "it is told of")
        # Nothing happens after this one.
        expired = watcher.watch(new_id(), lifetime=0.05)
        assert isinstance(expired.exception(WAIT), WatchExpiredError)
        wait_until(lambda: recorder.outcomes[1:] == [(expired.task_id, "expired")], "it is told of as well")


def test_those_that_nobody_can_wait_for_any_more_are_told_of(watcher: ResultWatcher, recorder: Recorder) -> None:
    future = watcher.watch(new_id())
    watcher.close()
    assert future.exception(WAIT) is not None
    assert recorder.told == [(1, [(future.task_id, "failed")])]


def test_what_was_failed_before_it_was_handed_out_is_told_of_once(
    watcher: ResultWatcher, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_thread)
    ids = new_ids(3)
    futures = watcher.watch_many(ids)
    assert [future.done() for future in futures] == [True] * 3
    assert recorder.outcomes == [(task_id, "failed") for task_id in ids]


def test_a_session_that_takes_the_place_of_another_is_observed(
    watcher: ResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was made a moment before."""
    recorder = Recorder()
    make = watcher._new_session

    def observed_meanwhile() -> Any:
        fresh = make()
        observe(recorder, watcher)
        return fresh

    monkeypatch.setattr(watcher, "_new_session", observed_meanwhile)
    watcher._replace(watcher._session)
    future = watcher.watch(new_id())
    writer.write(future.task_id)
    future.result(WAIT)
    wait_until(lambda: recorder.outcomes == [(future.task_id, "resolved")], "it is told of")


def test_a_histogram_counts_all_that_ended_together(watcher: ResultWatcher, writer: ResultWriter) -> None:
    tally = Tally()
    observe(tally, watcher)
    try:
        ids = new_ids(100)
        for task_id in ids[:60]:
            writer.write(task_id)
        for task_id in ids[60:]:
            writer.write(task_id, {"exc_type": "KeyError", "exc_message": ["x"], "exc_module": "builtins"}, "FAILURE")
        futures = watcher.watch_many(ids)
        for future in futures:
            future.exception(WAIT)
        wait_until(lambda: _counted(tally) == {"resolved": 60, "failed": 40}, "all are counted")
        waits = tally.totals()[NAME].waits
        assert waits["resolved"].seconds > 0
        assert waits["failed"].seconds > 0
    finally:
        unobserve(tally)


def _counted(tally: Tally) -> dict[str, int]:
    found = tally.totals().get(NAME)
    return {} if found is None else {outcome: sum(waits.counts) for outcome, waits in found.waits.items()}
