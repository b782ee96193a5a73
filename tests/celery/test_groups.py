"""Groups and chords: their futures in order, and one future for all values."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest
from celery import Celery, chord, group
from celery.result import GroupResult, ResultSet

from bgresults import ForkedError, NotWatchableError, WouldDeadlockError
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.tasks import adding_chain
from tests.support.workers import TaskWorker, WorkerPool

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


class Written:
    """A group whose results the test writes itself."""

    def __init__(self, server: RedisServer, app: Celery, watcher: CeleryResultWatcher) -> None:
        self.writer = ResultWriter(server)
        self.app = app
        self.watcher = watcher

    def result(self, *shape: Any) -> Any:
        """``result("a", ["b", "c"])``: a ``GroupResult`` of these ids."""
        # Not through the application: a GroupResult of AsyncResults subscribes to each of them.
        parts = [self.result(*part) if isinstance(part, list) else _Plain(part) for part in shape]
        return _PlainGroup(new_id(), parts)

    def group(self, *shape: Any) -> GroupFutures:
        return self.watcher.watch_group(self.result(*shape))


class _Plain:
    def __init__(self, task_id: str) -> None:
        self.id = task_id


class _PlainGroup:
    def __init__(self, group_id: str, results: list[Any]) -> None:
        self.id = group_id
        self.results = results


@pytest.fixture
def written(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> Iterator[Written]:
    app = new_app(result_backend=redis_server.url())
    made = Written(redis_server, app, from_celery(app))
    yield made
    made.writer.close()


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    return worker_for()


def signature(app: Celery, name: str, *args: Any) -> Any:
    return app.signature(name, args)


class TestWithWorkers:
    @pytest.fixture
    def app(self, worker: TaskWorker) -> Celery:
        return worker.make_app()

    @pytest.fixture
    def watcher(self, app: Celery, from_celery: FromCelery) -> CeleryResultWatcher:
        return from_celery(app)

    def test_a_group(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        numbers = range(10)
        futures = watcher.submit(group([app.signature("add", (number, 1)) for number in numbers], app=app))
        assert isinstance(futures, GroupFutures)
        assert futures.result(WAIT) == [number + 1 for number in numbers]
        assert [future.result(0) for future in futures] == [number + 1 for number in numbers]
        assert len(futures) == 10
        assert futures[3].result(0) == 4
        assert "10 of 10" in repr(futures)

    def test_groups_in_groups_keep_the_order(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """Celery's own freeze() turns the members of an inner group around."""
        echo = partial(signature, app, "echo")
        inner = group(echo("b"), group(echo("c"), echo("d"), app=app), echo("e"), app=app)
        assert watcher.submit(group(echo("a"), inner, echo("f"), app=app)).result(WAIT) == list("abcdef")

    def test_an_empty_group(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        futures = watcher.submit(group([], app=app))
        assert isinstance(futures, GroupFutures)
        assert futures.result(0) == []
        assert futures.partial() == []

    def test_a_group_of_chains_and_chords(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = partial(signature, app, "add")
        sums = chord([add(1, 2), add(3, 4)], app.signature("echo"), app=app)
        futures = watcher.submit(group(adding_chain(app, 1, 2, 3), sums, add(1, 1), app=app))
        assert futures.result(WAIT) == [6, [3, 7], 2]

    @pytest.mark.parametrize("body", ["task", "chain", "group"])
    def test_a_chord(self, app: Celery, watcher: CeleryResultWatcher, body: str) -> None:
        add = partial(signature, app, "add")
        echo = app.signature("echo")
        bodies = {"task": echo, "chain": echo | app.signature("echo"), "group": group(echo, echo, app=app)}
        futures = watcher.submit(chord([add(1, 2), add(3, 4)], bodies[body], app=app))
        assert isinstance(futures, GroupFutures)
        assert futures.values.result(WAIT) == [3, 7]
        assert [future.result(0) for future in futures] == [3, 7]
        assert futures.body is not None
        expected = [[3, 7], [3, 7]] if body == "group" else [3, 7]
        assert futures.body.result(WAIT) == futures.result(0) == expected

    def test_a_chord_whose_header_fails(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        from celery.exceptions import ChordError

        header = [app.signature("add", (1, 2)), app.signature("fail", ("KeyError", "k"))]
        futures = watcher.submit(chord(header, app.signature("echo"), app=app))
        assert isinstance(futures, GroupFutures)
        with pytest.raises(KeyError):
            futures.values.result(WAIT)
        # Celery stores the one first, and then the other.
        with pytest.raises((KeyError, ChordError)):
            futures.result(WAIT)

    @pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery, as it saves the group
    def test_sent_elsewhere(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        sent = group(app.signature("add", (1, 2)), app.signature("add", (3, 4)), app=app).apply_async()
        assert watcher.watch_group(sent).result(WAIT) == [3, 7]
        sent.save()
        assert watcher.watch_group(sent.id).result(WAIT) == [3, 7]
        with pytest.raises(NotWatchableError, match="save"):
            watcher.watch_group(new_id())

    def test_the_result_of_a_chord_is_an_ordinary_id(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        sent = chord([app.signature("add", (1, 2))], app.signature("echo"), app=app).apply_async()
        assert watcher.watch(sent).result(WAIT) == [3]

    def test_revoked(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        from celery.exceptions import TaskRevokedError

        slow = [app.signature("echo", (number,)).set(countdown=10) for number in range(3)]
        futures = watcher.submit(group(slow, app=app))
        assert isinstance(futures, GroupFutures)
        futures.revoke()
        for future in futures:
            assert isinstance(future.exception(WAIT), TaskRevokedError)


class TestValues:
    def test_nested_as_the_group_is(self, written: Written) -> None:
        a, b, c, d = new_ids(4)
        futures = written.group(a, [b, [c]], d)
        for task_id in (d, c, b, a):
            written.writer.write(task_id, task_id)
        assert futures.result(WAIT) == [a, [b, [c]], d]
        assert [future.task_id for future in futures] == [a, b, c, d]

    def test_in_one_batch(self, written: Written) -> None:
        futures = written.group(*new_ids(400))
        wait_until(lambda: written.watcher.stats().subscribed == 400, "the subscriptions")
        assert written.watcher.pending == 400
        for future in futures:
            written.writer.write(future.task_id, 1)
        assert futures.result(WAIT) == [1] * 400

    def test_of_a_set(self, written: Written) -> None:
        ids = new_ids(2)
        results = ResultSet([], app=written.app)
        results.results = [_Plain(task_id) for task_id in ids]
        futures = written.watcher.watch_group(results)
        for task_id in ids:
            written.writer.write(task_id, 5)
        assert futures.id is None
        assert futures.result(WAIT) == [5, 5]

    def test_the_first_failure_ends_it(self, written: Written) -> None:
        a, b, c = new_ids(3)
        futures = written.group(a, b, c)
        written.writer.fail(b, KeyError("gone"))
        with pytest.raises(KeyError) as first:
            futures.result(WAIT)
        assert not futures[0].done()
        with pytest.raises(KeyError) as second:
            futures[1].result(0)
        assert first.value is not second.value, "two threads would grow each other's traceback"
        assert type(first.value.__cause__) is type(second.value.__cause__)
        written.writer.write(a, 1)
        written.writer.write(c, 3)
        assert futures[0].result(WAIT) == 1
        assert futures[2].result(WAIT) == 3

    def test_a_member_that_is_cancelled_ends_it(self, written: Written) -> None:
        futures = written.group(*new_ids(2))
        assert futures[1].cancel()
        assert futures.values.cancelled()
        with pytest.raises(CancelledError):
            futures.result(WAIT)

    def test_cancelling_it_leaves_the_members(self, written: Written) -> None:
        futures = written.group(*new_ids(2))
        assert futures.values.cancel()
        assert futures.values.cancelled()
        for future in futures:
            written.writer.write(future.task_id, 1)
            assert future.result(WAIT) == 1

    def test_cancelling_all(self, written: Written) -> None:
        futures = written.group(*new_ids(3))
        wait_until(lambda: written.watcher.stats().subscribed == 3, "the subscriptions")
        futures.cancel()
        assert futures.values.cancelled()
        assert all(future.cancelled() for future in futures)
        assert written.watcher.pending == 0
        wait_until(lambda: written.watcher.stats().subscribed == 0, "the end of the subscriptions")

    def test_a_real_future(self, written: Written) -> None:
        one, two = (written.group(*new_ids(2)) for _ in range(2))
        for future in one:
            written.writer.write(future.task_id, 1)
        done, pending = concurrent.futures.wait([one.values, two.values], WAIT, concurrent.futures.FIRST_COMPLETED)
        assert done == {one.values}
        assert pending == {two.values}
        with pytest.raises(concurrent.futures.TimeoutError):
            two.values.result(0.05)

    def test_what_there_is_at_a_deadline(self, written: Written) -> None:
        a, b, c = new_ids(3)
        futures = written.group(a, b, c)
        written.writer.write(a, 1)
        written.writer.fail(c, KeyError("gone"))
        futures[0].result(WAIT), futures[2].exception(WAIT)
        taken: list[float] = []
        # Not each time: the machine may have other things to do for a second.
        while len(taken) < 3 and (not taken or taken[-1] >= 2):
            started = time.monotonic()
            found = futures.partial(0.2, default="late")
            taken.append(time.monotonic() - started)
        assert 0.2 <= taken[-1] < 2
        assert found[:2] == [1, "late"]
        assert isinstance(found[2], KeyError)
        assert found[2] is not futures[2].exception(0)


class TestCallbacks:
    def test_called_when_all_are_there(self, written: Written) -> None:
        a, b = new_ids(2)
        seen: list[Any] = []
        # Nobody holds the group: the callback alone keeps it, and its members, alive.
        written.group(a, b).values.add_done_callback(lambda future: seen.append(future.result()))
        gc.collect()
        wait_until(lambda: written.watcher.stats().subscribed == 2, "the subscriptions")
        written.writer.write(a, 1)
        written.writer.write(b, 2)
        wait_until(lambda: seen == [[1, 2]], "the callback")
        wait_until(lambda: written.watcher.pending == 0, "nothing that is pending")

    def test_one_that_exits_keeps_no_other_from_running(self, written: Written) -> None:
        task_id, other = new_ids(2)
        futures = written.group(task_id)
        seen: list[int] = []

        def leave(_: Any) -> None:
            raise SystemExit

        futures.values.add_done_callback(leave)
        futures.values.add_done_callback(lambda _: seen.append(1))
        written.writer.write(task_id, 1)
        wait_until(lambda: seen == [1], "the second callback")
        written.writer.write(other, 2)
        assert written.watcher.watch(other).result(WAIT) == 2

    def test_waiting_in_a_callback(self, written: Written) -> None:
        held, other = written.group(*new_ids(2)), written.watcher.watch(new_id())
        caught: list[BaseException] = []

        def wait(_: Any) -> None:
            for call in (held.result, held.exception, held.partial):
                try:
                    call(1)
                except WouldDeadlockError as error:
                    caught.append(error)

        other.add_done_callback(wait)
        written.writer.write(other.task_id, 1)
        wait_until(lambda: len(caught) == 3, "all three to be refused")


class TestLetGo:
    def test_a_dropped_group_is_not_watched_any_more(self, written: Written) -> None:
        futures = written.group(*new_ids(20))
        wait_until(lambda: written.watcher.stats().subscribed == 20, "the subscriptions")
        del futures
        wait_until(lambda: written.watcher.stats().subscribed == 0, "the end of the subscriptions")
        assert written.watcher.stats().dropped == 20

    @pytest.mark.parametrize("how", ["fail", "cancel", "cancel_member", "set_result"])
    def test_a_callback_that_was_called_keeps_nothing(self, written: Written, how: str) -> None:
        """The values ended before all members had; nobody waits for those any more."""
        ids = new_ids(4)
        futures = written.group(*ids)
        called = threading.Event()
        futures.values.add_done_callback(lambda _: called.set())
        wait_until(lambda: written.watcher.stats().subscribed == 4, "the subscriptions")
        if how == "fail":
            written.writer.fail(ids[0], ValueError("no"))
        elif how == "cancel":
            futures.values.cancel()
        elif how == "cancel_member":
            futures[0].cancel()
        else:
            futures.values.set_result([])
        assert called.wait(WAIT)
        del futures
        gc.collect()
        wait_until(lambda: written.watcher.pending == 0, "nothing that is pending")
        wait_until(lambda: written.watcher.stats().subscribed == 0, "the end of the subscriptions")

    def test_the_values_alone_keep_it(self, written: Written) -> None:
        ids = new_ids(3)
        values = written.group(*ids).values
        gc.collect()
        for task_id in ids:
            written.writer.write(task_id, 1)
        assert values.result(WAIT) == [1, 1, 1]

    def test_in_a_forked_child(self, written: Written) -> None:
        futures = written.group(*new_ids(2))
        futures.values.add_done_callback(lambda _: None)
        wait_until(lambda: written.watcher.stats().subscribed == 2, "the subscriptions")

        def child() -> None:
            assert isinstance(futures.values.exception(1), ForkedError)
            assert "Gathered" in repr(futures.values)

        assert run_in_child(child) == 0
        for future in futures:
            written.writer.write(future.task_id, 1)
        assert futures.result(WAIT) == [1, 1]

    def test_ended_and_cancelled_by_many_at_once(self, written: Written) -> None:
        """Whoever comes first decides, once."""
        for _ in range(50):
            futures = written.group(*new_ids(4))
            seen: list[Any] = []
            futures.values.add_done_callback(seen.append)
            cancelling = threading.Thread(target=futures[3].cancel)
            for future in futures.futures[:3]:
                written.writer.write(future.task_id, 1)
            cancelling.start()
            written.writer.write(futures[3].task_id, 1)
            cancelling.join()
            concurrent.futures.wait([futures.values], WAIT)
            wait_until(lambda seen=seen: len(seen) == 1, "the callback")  # type: ignore[misc]
            assert futures.values.cancelled() or futures.values.result(0) == [1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [None, 5, object()])
def test_no_group(written: Written, wrong: Any) -> None:
    with pytest.raises(TypeError):
        written.watcher.watch_group(wrong)


def test_a_single_result_is_no_group(written: Written) -> None:
    with pytest.raises(TypeError, match="watch\\(\\)"):
        written.watcher.watch_group(written.app.AsyncResult(new_id()))
    with pytest.raises(TypeError, match="several tasks"):
        written.watcher.watch(GroupResult(new_id(), []))


def test_the_type_of_the_members(written: Written) -> None:
    assert all(isinstance(future, CeleryResultFuture) for future in written.group(*new_ids(2)))
