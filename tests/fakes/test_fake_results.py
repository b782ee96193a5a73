"""``FakeResults``: real watchers and real futures, whose tasks end as a test says."""

from __future__ import annotations

import decimal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import wait
from datetime import datetime, timezone
from typing import Any

import pytest
from kombu.exceptions import EncodeError

from bgresults import (
    BackendUnavailableError,
    ResultWatcher,
    TaskFailedError,
    TaskRevokedError,
    TooManyPendingError,
    WatcherClosedError,
    WatchExpiredError,
)
from bgresults.observing import observe, unobserve
from bgresults.tally import Tally
from bgresults.testing import FakeResults, RedisServer, is_backoff_active
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter
from tests.support.waiting import wait_until


class UnknownRegionError(Exception):
    """Something of the user's."""


@pytest.fixture
def fake() -> Iterator[FakeResults]:
    with FakeResults() as fake:
        yield fake


@pytest.fixture
def watcher(fake: FakeResults) -> ResultWatcher:
    return fake.watcher()


class TestOutcomes:
    def test_where_a_test_has_something_else_for_sleep(
        self, fake: FakeResults, watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is meant for what is tested, and not for the drain thread."""
        bystander, waited_for = watcher.watch("bystander"), watcher.watch("a")
        with pytest.raises(TimeoutError):
            waited_for.result(timeout=0)

        def sleep(_seconds: float) -> None:
            raise AssertionError("nobody should sleep")

        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", sleep)
            fake.resolve("a", 1)
            fake.resolve("b", 2)
            assert waited_for.result(timeout=0) == 1
            assert watcher.watch("b").result(timeout=20) == 2
        assert watcher.stats().thread_alive
        assert not bystander.done()

    def test_everything_has_happened_when_a_call_returns(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        heard: list[object] = []
        future = watcher.watch("a", on_update=lambda meta: heard.append((meta.status, meta.result)))
        future.add_done_callback(lambda done: heard.append(done.result(0)))
        fake.progress("a", {"page": 1})
        assert (future.status, future.done()) == ("PROGRESS", False)
        fake.progress("a", None, state="STARTED")
        fake.resolve("a", 42)
        assert future.result(timeout=0) == 42
        assert heard == [("PROGRESS", {"page": 1}), ("STARTED", None), ("SUCCESS", 42), 42]
        stats = watcher.stats()
        assert (stats.watched, stats.resolved, stats.pending, stats.subscribed) == (1, 1, 0, 0)

    def test_what_is_resolved_before_is_kept(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        fake.resolve("a", "early")
        assert [future.result(5) for future in watcher.watch_many(["a", "a"])] == ["early", "early"]
        assert watcher.stats().recovered == 1

    def test_of_the_states_before_only_the_last_one_is_kept(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        for page in (1, 2):
            fake.progress("a", page)
        states = watcher.updates("a", timeout=5)
        assert next(states).result == 2
        fake.progress("a", 3)
        fake.resolve("a")
        assert [state.result for state in states] == [3, None]

    def test_ids_of_every_kind(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        number = uuid.uuid4()
        by_uuid, by_future = watcher.watch(number), watcher.watch("b")
        fake.resolve(number, 1)
        fake.resolve(by_future, 2)
        assert (by_uuid.result(0), by_future.result(0)) == (1, 2)

    def test_a_task_that_fails(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        first, second = watcher.watch("a"), watcher.watch("b")
        try:
            raise UnknownRegionError("Atlantis", 3)
        except UnknownRegionError as error:
            fake.fail("a", error)
        fake.fail("b", UnknownRegionError)
        with pytest.raises(UnknownRegionError) as caught:
            first.result(0)
        assert caught.value.args == ("Atlantis", 3)
        assert 'raise UnknownRegionError("Atlantis", 3)' in str(caught.value.__cause__)
        assert isinstance(second.exception(0), UnknownRegionError)

    def test_a_task_that_was_revoked(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        future = watcher.watch("a")
        fake.revoke("a", "terminated")
        with pytest.raises(TaskRevokedError, match="terminated"):
            future.result(0)
        assert future.status == "REVOKED"

    def test_timeouts_and_lifetimes_are_real(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        future = watcher.watch("a", lifetime=0.1)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        with pytest.raises(WatchExpiredError):
            future.result(timeout=5)

    def test_threads_that_wait(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        futures = watcher.watch_many(f"{number}" for number in range(50))
        threads = [threading.Thread(target=fake.resolve, args=(each, each.task_id)) for each in futures]
        for thread in threads:
            thread.start()
        assert not wait(futures, timeout=10).not_done
        for thread in threads:
            thread.join()
        assert [future.result(0) for future in futures] == [future.task_id for future in futures]

    def test_a_callback_may_say_what_becomes_of_another_task(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        second = watcher.watch("b")
        first = watcher.watch("a")
        first.add_done_callback(lambda _: fake.resolve("b", 2))
        fake.resolve("a", 1)
        assert second.result(5) == 2


class TestEncoding:
    @pytest.mark.parametrize(
        ("value", "arrives"),
        [
            ((1, 2), [1, 2]),
            ({1: "a"}, {"1": "a"}),
            (decimal.Decimal("1.5"), decimal.Decimal("1.5")),
            (datetime(2024, 2, 29, tzinfo=timezone.utc), datetime(2024, 2, 29, tzinfo=timezone.utc)),
        ],
    )
    def test_values_arrive_as_they_would(
        self, fake: FakeResults, watcher: ResultWatcher, value: object, arrives: object
    ) -> None:
        future = watcher.watch("a")
        fake.resolve("a", value)
        assert future.result(0) == arrives

    @pytest.mark.parametrize("value", [object(), ValueError("returned, and not raised")], ids=["object", "exception"])
    def test_a_value_that_cannot_be_serialized_fails_as_in_production(
        self, fake: FakeResults, watcher: ResultWatcher, value: object
    ) -> None:
        future = watcher.watch("a")
        fake.resolve("a", value)
        with pytest.raises(EncodeError, match=f"Object of type {type(value).__name__} is not JSON serializable"):
            future.result(0)

    def test_a_progress_that_cannot_is_refused(self, fake: FakeResults) -> None:
        with pytest.raises(EncodeError):
            fake.progress("a", object())
        fake.resolve("a")

    def test_arguments_of_exceptions_that_cannot_arrive_as_their_repr(
        self, fake: FakeResults, watcher: ResultWatcher
    ) -> None:
        future = watcher.watch("a")
        fake.fail("a", ValueError("x", {1}.__class__))
        assert repr(future.exception(0)) == """ValueError('x', "<class 'set'>")"""

    def test_a_class_that_cannot_be_found(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        class LocalError(Exception):
            """Nobody can import it."""

        future = watcher.watch("a")
        fake.fail("a", LocalError("x"))
        error = future.exception(0)
        assert isinstance(error, TaskFailedError)
        assert type(error).__name__.endswith("LocalError")

    def test_a_value_is_taken_as_it_is_now(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        value = [1]
        future = watcher.watch("a")
        fake.resolve("a", value)
        value.append(2)
        assert future.result(0) == [1]

    def test_another_serializer(self) -> None:
        with FakeResults(serializer="pickle") as fake:
            watcher = fake.watcher(serializer="pickle")
            future, failed = watcher.watch_many(["a", "b"])
            fake.resolve("a", {1, 2})
            fake.fail("b", UnknownRegionError("x"))
            assert future.result(0) == {1, 2}
            assert isinstance(failed.exception(0), UnknownRegionError)


class TestOutages:
    def test_futures_wait_for_the_end_of_an_outage(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        future = watcher.watch("a")
        fake.disconnect()
        assert not watcher.health().healthy
        fake.resolve("a", 1)
        late = watcher.watch("b")
        assert not future.done()
        fake.resolve("b", 2)
        fake.reconnect()
        assert (future.result(0), late.result(0)) == (1, 2)
        stats = watcher.stats()
        assert (stats.reconnects, stats.recovered, stats.connected) == (1, 2, True)

    def test_those_that_fail_of_one(self, fake: FakeResults) -> None:
        watcher = fake.watcher(on_disconnect="fail")
        future = watcher.watch("a")
        fake.disconnect("the cable is out")
        for each in (future, watcher.watch("b")):
            with pytest.raises(BackendUnavailableError, match="the cable is out"):
                each.result(0)
        fake.reconnect()
        again = watcher.watch("a")
        fake.resolve("a", 1)
        assert again.result(0) == 1

    def test_a_first_connection_that_fails(self, fake: FakeResults) -> None:
        fake.disconnect()
        watcher = fake.watcher(on_disconnect="fail")
        with pytest.raises(BackendUnavailableError):
            watcher.watch("a").result(5)


class TestAllWatchers:
    def test_one_that_was_made_before(self) -> None:
        with ResultWatcher("redis://nowhere.invalid/0") as before:
            with FakeResults() as fake:
                future = before.watch("a")
                fake.resolve("a", 1)
                assert future.result(0) == 1
                pending = before.watch("b")
            with pytest.raises(WatcherClosedError, match="the test is over"):
                pending.result(0)
            assert not before.closed
            assert before.stats().watched == 0
            with FakeResults() as fake:
                future = before.watch("a")
                assert not future.done()
                fake.resolve("a", 2)
                assert future.result(0) == 2

    def test_one_that_is_at_work_goes_on_with_it_afterwards(self, redis_server: RedisServer, key_prefix: str) -> None:
        writer = ResultWriter(redis_server, prefix=key_prefix)
        with writer.client, ResultWatcher(redis_server.url(), key_prefix=key_prefix) as watcher:
            real = watcher.watch("real")
            assert watcher.wait_ready(10)
            with FakeResults() as fake:
                future = watcher.watch("fake")
                fake.resolve("fake", 1)
                assert future.result(0) == 1
                writer.write("real", 2)
                assert real.result(10) == 2
            assert watcher.stats().watched == 1
            later = watcher.watch("later")
            writer.write("later", 3)
            assert later.result(10) == 3

    def test_one_that_is_at_work_is_observed_meanwhile(self, redis_server: RedisServer, key_prefix: str) -> None:
        tally = Tally()
        with ResultWatcher(redis_server.url(), key_prefix=key_prefix, name="observed") as watcher:
            observe(tally, watcher)
            assert watcher.wait_ready(10)
            with FakeResults() as fake:
                future = watcher.watch("fake")
                fake.resolve("fake", 1)
                assert future.result(0) == 1
                wait_until(lambda: sum(tally.totals()["observed"].waits["resolved"].counts) == 1, "it is counted")
            unobserve(tally)

    def test_one_that_is_closed_meanwhile_is_closed_for_good(self, redis_server: RedisServer) -> None:
        watcher = ResultWatcher(redis_server.url())
        assert watcher.wait_ready(10)
        real = watcher.watch("real")
        with FakeResults():
            watcher.close()
        assert watcher.closed
        with pytest.raises(WatcherClosedError):
            real.result(10)
        with pytest.raises(WatcherClosedError):
            watcher.watch("a")

    def test_each_url_and_setting_is_checked_as_ever(self, fake: FakeResults) -> None:
        with pytest.raises(ValueError, match="there is no consumer for results at nonsense"):
            ResultWatcher("nonsense://x")
        with pytest.raises(TypeError, match="max_pendings"):
            fake.watcher(max_pendings=1)
        watcher = fake.watcher(max_pending=1)
        future = watcher.watch("a")
        with pytest.raises(TooManyPendingError):
            watcher.watch("b")
        assert not future.done()

    def test_several_watchers_of_one_task(self, fake: FakeResults) -> None:
        futures = [fake.watcher().watch("a"), fake.watcher(name="other").watch("a")]
        fake.resolve("a", 1)
        assert [future.result(0) for future in futures] == [1, 1]

    def test_replies_through_a_broker(self, fake: FakeResults) -> None:
        with ResultWatcher("amqp://nowhere.invalid//") as watcher:
            assert str(watcher.reply_to).startswith("bgresults")
            future = watcher.watch("a")
            fake.resolve("a", 1)
            assert future.result(0) == 1

    def test_a_forked_child_has_a_copy(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        future = watcher.watch("a")
        fake.progress("a", 1)

        def child() -> None:
            again = watcher.watch("a")
            fake.resolve("a", "in the child")
            assert again.result(10) == "in the child"

        assert run_in_child(child) == 0
        assert not future.done()
        fake.resolve("a", "here")
        assert future.result(0) == "here"

    def test_nobody_backs_off_meanwhile(self, fake: FakeResults) -> None:
        assert not is_backoff_active()


class TestLooseEnds:
    def test_they_are_named(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        kept = watcher.watch("waiting")
        fake.resolve("tpyo", 1)
        assert fake.pending == ["waiting"]
        assert fake.loose_ends() == ["still waited for: task 'waiting'", "SUCCESS, and never watched: task 'tpyo'"]
        fake.resolve("waiting")
        assert watcher.watch("tpyo").result(5) == 1
        assert kept.done()
        assert fake.loose_ends() == []

    def test_a_dropped_future_is_none(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        watcher.watch("a")
        wait_until(lambda: fake.loose_ends() == [], "the end of the watch")

    def test_the_summary(self, fake: FakeResults, watcher: ResultWatcher) -> None:
        future = watcher.watch("a")
        fake.fail("a", ValueError)
        fake.progress("b")
        fake.disconnect("no power")
        assert fake.summary().splitlines() == [
            "FAILURE: task 'a'",
            "PROGRESS: task 'b'",
            "disconnected: no power",
            "PROGRESS, and never watched: task 'b'",
        ]
        assert future.done()


class TestWrongUse:
    @pytest.mark.parametrize("again", ["resolve", "progress", "revoke"])
    def test_a_task_ends_once(self, fake: FakeResults, again: str) -> None:
        fake.resolve("a")
        with pytest.raises(ValueError, match="task 'a' has ended already: SUCCESS"):
            getattr(fake, again)("a")

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda fake: fake.resolve(7, 1), TypeError, "task_id must be a non-empty str"),
            (lambda fake: fake.resolve("", 1), ValueError, "not an empty str"),
            (lambda fake: fake.fail("a", "no exception"), TypeError, "with an Exception, or a class of one"),
            (lambda fake: fake.fail("a", KeyboardInterrupt), TypeError, "KeyboardInterrupt"),
            (lambda fake: fake.progress("a", state="SUCCESS"), ValueError, "SUCCESS ends a task: use resolve"),
            (lambda fake: fake.progress("a", state=""), ValueError, "the name of a state"),
        ],
    )
    def test_what_makes_no_sense(self, fake: FakeResults, call: Any, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            call(fake)
        assert fake.summary() == ""

    def test_one_at_a_time(self, fake: FakeResults) -> None:
        second = FakeResults()
        with pytest.raises(RuntimeError, match="one FakeResults at a time"):
            second.__enter__()
        fake.resolve("a")

    def test_before_and_after(self) -> None:
        fake = FakeResults()
        for call in (lambda: fake.resolve("a"), fake.watcher, fake.disconnect, lambda: fake.when("a")):
            with pytest.raises(RuntimeError, match="with FakeResults"):
                call()
        with fake:
            pass
        with pytest.raises(RuntimeError, match="used before"):
            fake.__enter__()
        with pytest.raises(RuntimeError, match="with FakeResults"):
            fake.resolve("a")

    def test_an_unknown_serializer(self) -> None:
        with pytest.raises(ValueError, match="nonsense"):
            FakeResults(serializer="nonsense")
