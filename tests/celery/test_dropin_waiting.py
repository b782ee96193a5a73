"""The drop-in: everything that waits in Celery's API, with stock workers, in Redis and over rpc."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import celery.exceptions
import pytest
from celery import Celery, chain, chord, group
from celery._state import _set_task_join_will_block, _task_stack
from celery.result import AsyncResult, GroupResult, ResultSet
from kombu.exceptions import OperationalError
from vine import promise

from bgresults import AMQPOptions, NotWatchableError, ResultWatcher
from bgresults.integrations.celery.dropin.backends import RedisBackend, RPCBackend
from bgresults.testing import RedisServer
from tests.celery.dropin_scene import DropIns
from tests.support import wait_until
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id
from tests.support.rpc_workers import make_queue, queue_exists, queue_length, rpc_worker
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker, WorkerPool

WAIT = 20


@pytest.fixture(params=["redis", pytest.param("rpc", marks=pytest.mark.rabbitmq)])
def worker(request: pytest.FixtureRequest, worker_for: WorkerPool) -> TaskWorker:
    if request.param == "redis":
        return worker_for()
    return rpc_worker(worker_for, request.getfixturevalue("rabbitmq_url"))


@pytest.fixture
def apps() -> Iterator[DropIns]:
    made = DropIns()
    yield made
    made.close()


@pytest.fixture
def app(apps: DropIns, worker: TaskWorker) -> Celery:
    return apps(worker)


def signature(app: Celery, name: str, *args: Any) -> Any:
    return app.signature(name, args, app=app)


def watcher_of(app: Celery) -> ResultWatcher:
    return ResultWatcher.from_celery(app)


def test_what_made_it_fail_is_raised_although_nobody_has_heard_of_it(own_redis: RedisServer) -> None:
    """A chord fails with its header: both are stored, and the message of the body may come first."""
    writer = ResultWriter(own_redis)
    app = Celery("unheard", broker="memory://", backend=f"bgresults+{own_redis.url()}", set_as_current=False)
    header, body = new_id(), new_id()
    result = AsyncResult(body, app=app, parent=AsyncResult(header, app=app))
    raised: list[BaseException] = []

    def get() -> None:
        try:
            result.get(timeout=WAIT)
        except Exception as error:
            raised.append(error)

    caller = threading.Thread(target=get)
    try:
        caller.start()
        wait_until(lambda: {header, body} <= writer.channels(), "the wait")
        writer.store(header, {"exc_type": "KeyError", "exc_module": "builtins", "exc_message": ["k"]}, "FAILURE")
        writer.fail(body, ValueError("a member failed"))
        caller.join(WAIT)
        assert [type(error) for error in raised] == [KeyError]
    finally:
        watcher_of(app).close()
        writer.close()
        app.close()


class TestOneTask:
    def test_values_and_failures(self, app: Celery) -> None:
        assert isinstance(app.backend, (RedisBackend, RPCBackend))
        assert app.tasks["add"].delay(1, 2).get(timeout=WAIT) == 3
        failing = app.tasks["fail"].delay("ValueError", "no")
        with pytest.raises(ValueError, match="no"):
            failing.get(timeout=WAIT)
        assert isinstance(failing.get(propagate=False), ValueError)
        assert failing.state == "FAILURE"
        assert "fail" in failing.traceback
        told: list[Any] = []
        sent = app.tasks["echo"].delay("x")
        assert sent.get(timeout=WAIT, callback=lambda *args: told.append(args)) == "x"
        assert told == [(sent.id, "x")]

    def test_every_state_is_told_in_the_thread_that_waits(self, app: Celery) -> None:
        told: list[Any] = []

        def on_message(meta: dict[str, Any]) -> None:
            told.append((meta["status"], meta["result"], threading.current_thread()))

        # Connected, and in no hurry: in Redis, what was told before somebody listens is not told again.
        app.tasks["add"].delay(1, 2).get(timeout=WAIT)
        sent = app.tasks["progress"].apply_async((3, 0.05), countdown=2)
        assert sent.get(timeout=WAIT, on_message=on_message) == 3
        assert {thread for _, _, thread in told} == {threading.current_thread()}
        states = [(status, result) for status, result, _ in told]
        assert states[-2:] == [("PROGRESS", {"done": 3, "of": 3}), ("SUCCESS", 3)]

    def test_what_on_message_raises_comes_out_of_get(self, app: Celery) -> None:
        def on_message(_: Any) -> None:
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            app.tasks["add"].delay(1, 2).get(timeout=WAIT, on_message=on_message)
        assert app.tasks["add"].delay(1, 2).get(timeout=WAIT) == 3

    def test_time_limits(self, app: Celery) -> None:
        nobody = app.AsyncResult(new_id())
        app.tasks["add"].delay(1, 2).get(timeout=WAIT)
        taken: list[float] = []
        # Until one was quick: this machine may be busy.
        while len(taken) < 5 or (min(taken) >= 0.07 and len(taken) < 50):
            started = time.monotonic()
            with pytest.raises(celery.exceptions.TimeoutError, match="timed out"):
                nobody.get(timeout=0.05)
            taken.append(time.monotonic() - started)
        assert 0.05 <= min(taken) < 0.07
        watcher = watcher_of(app)
        del nobody
        wait_until(lambda: watcher.pending == 0, "nothing to be left of it")

    def test_as_much_time_as_there_is(self, app: Celery) -> None:
        assert app.tasks["sleep"].delay(0.2, "slept").get(timeout=float("inf")) == "slept"

    def test_a_step_whose_result_is_ignored(self, app: Celery) -> None:
        never = app.signature("echo", ("end",), immutable=True)
        # Celery does not ask its backend where an ignored task is sent: nor before the very first one.
        assert app.tasks["add"].delay(1, 2).get(timeout=WAIT) == 3
        for _ in range(2):
            sent = chain(signature(app, "add", 1, 1).set(ignore_result=True), never, app=app).apply_async()
            assert sent.get(timeout=WAIT, follow_parents=False) == "end"
            assert chain(signature(app, "nothing").set(), never, app=app).apply_async().get(timeout=WAIT) == "end"

    def test_no_time_at_all_means_to_ask(self, app: Celery) -> None:
        sent = app.tasks["add"].delay(1, 2)
        with pytest.raises(celery.exceptions.TimeoutError):
            app.AsyncResult(new_id()).get(timeout=0)
        wait_until(sent.ready, "the result")
        assert sent.get(timeout=0) == 3
        assert app.AsyncResult(sent.id).get(timeout=0) == 3

    def test_on_interval(self, app: Celery) -> None:
        called = threading.Event()

        def on_interval() -> None:
            called.set()
            raise LookupError("enough")

        with pytest.raises(LookupError, match="enough"):
            app.AsyncResult(new_id()).get(timeout=WAIT, on_interval=on_interval)

    def test_inside_a_task(self, app: Celery) -> None:
        sent = app.tasks["add"].delay(1, 2)
        _set_task_join_will_block(True)
        try:
            with pytest.raises(RuntimeError, match=r"result\.get\(\) within a task"):
                sent.get(timeout=WAIT)
            assert sent.get(timeout=WAIT, disable_sync_subtasks=False) == 3
        finally:
            _set_task_join_will_block(False)

    def test_what_a_task_sends(self, app: Celery) -> None:
        """No thread is started for what nobody may ever ask for; whoever does ask gets it all the same."""
        task = app.tasks["add"]
        task.push_request(called_directly=False)
        _task_stack.push(task)
        try:
            sent = [task.delay(1, 2), task.delay(3, 4)]
            assert not watcher_of(app).stats().thread_alive
        finally:
            _task_stack.pop()
            task.pop_request()
        assert [result.get(timeout=WAIT) for result in sent] == [3, 7]

    def test_the_first_step_that_fails_ends_it(self, app: Celery) -> None:
        never = app.signature("echo", (1,), immutable=True)
        failing = chain(signature(app, "fail", "KeyError", "first"), never, app=app)
        sent = failing.apply_async()
        started = time.monotonic()
        with pytest.raises(KeyError, match="first"):
            sent.get(timeout=WAIT)
        assert time.monotonic() - started < WAIT
        assert adding_chain(app, 1, 2, 3).apply_async().get(timeout=WAIT) == 6

    def test_the_same_again(self, app: Celery) -> None:
        sent = app.tasks["add"].delay(1, 2)
        assert [sent.get(timeout=WAIT), sent.get(timeout=WAIT), app.AsyncResult(sent.id).get(timeout=WAIT)] == [3] * 3
        assert [result.get(timeout=WAIT) for result in in_threads(8, lambda _: app.AsyncResult(sent.id))] == [3] * 8

    def test_one_result_in_many_threads(self, app: Celery) -> None:
        sent = app.tasks["sleep"].delay(0.3, "slept")
        told: list[Any] = []
        sent.then(told.append)
        assert in_threads(16, lambda _: sent.get(timeout=WAIT)) == ["slept"] * 16
        wait_until(lambda: told == [sent], "the callback, which is called once")


class TestThen:
    def test_nobody_has_to_wait(self, app: Celery) -> None:
        told: list[Any] = []
        sent = app.tasks["sleep"].delay(0.2, "slept")
        sent.then(lambda result: told.append((result.get(), result.state)))
        wait_until(lambda: told == [("slept", "SUCCESS")], "the callback")
        sent.then(lambda result: told.append("again"))
        assert told[1:] == ["again"], "it is known already"

    def test_forgotten(self, app: Celery) -> None:
        app.tasks["add"].delay(1, 2).get(timeout=WAIT)
        told: list[Any] = []
        result = app.AsyncResult(new_id())
        result.then(told.append)
        watcher = watcher_of(app)
        assert watcher.pending == 1
        result.forget()
        wait_until(lambda: watcher.pending == 0, "the watch to end")
        assert not told

    def test_a_set_of_results(self, app: Celery) -> None:
        """Counted by a barrier, which is no reason to watch anything; told when somebody has waited for all of them."""
        told: list[Any] = []
        sent = [app.tasks["add"].delay(number, 1) for number in range(3)]
        before = watcher_of(app).pending
        results = ResultSet(sent, app=app)
        results.then(lambda ended: told.append(ended.join()))
        assert watcher_of(app).pending == before
        assert results.get(timeout=WAIT) == [1, 2, 3]
        assert told == [[1, 2, 3]]

    def test_called_once_whoever_sees_the_end_first(self, app: Celery) -> None:
        """A thread that polls sees it too, while the drain thread is in the middle of the callback."""
        told: list[Any] = []
        begun, polled = threading.Event(), threading.Event()

        def slow(result: Any) -> None:
            told.append(result)
            begun.set()
            polled.wait(WAIT)

        sent = app.tasks["sleep"].delay(0.2, "slept")
        sent.then(slow)
        assert begun.wait(WAIT)
        # What ready() does, if it was asked a moment before.
        sent._maybe_set_cache({"status": "SUCCESS", "result": "slept", "task_id": sent.id})
        polled.set()
        assert sent.get(timeout=WAIT) == "slept"
        assert told == [sent]

    def test_a_callback_that_comes_in_the_moment_of_the_end(self, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the look whether the result is there and the adding."""
        sent = app.tasks["sleep"].delay(0.2, "slept")
        told: list[Any] = []
        sent.then(lambda _: None)
        original = promise.then

        def ends_meanwhile(kept: Any, *args: Any) -> Any:
            waiting, kept.ready = kept.ready, False
            wait_until(lambda: sent._cache, "the end")
            added = original(kept, *args)
            kept.ready = kept.ready or waiting or bool(sent._cache)
            return added

        monkeypatch.setattr(promise, "then", ends_meanwhile)
        sent.then(told.append)
        assert told == [sent]


class TestManyTasks:
    def test_groups(self, app: Celery) -> None:
        sent = group([signature(app, "add", number, number) for number in range(20)], app=app).apply_async()
        expected = [2 * number for number in range(20)]
        assert sent.get(timeout=WAIT) == expected
        assert sent.join(timeout=WAIT) == expected
        assert sent.join_native(timeout=WAIT) == expected
        assert sent.ready()
        assert sorted(task_id for task_id, _ in sent.iter_native(timeout=WAIT)) == sorted(r.id for r in sent)
        told: list[Any] = []
        assert sent.join_native(timeout=WAIT, callback=lambda *args: told.append(args)) is None
        assert sorted(told) == sorted((result.id, value) for result, value in zip(sent, expected, strict=True))

    def test_members_come_as_they_end(self, app: Celery) -> None:
        # Connected, or both may have ended before they are asked for.
        app.tasks["add"].delay(1, 2).get(timeout=WAIT)
        slow = signature(app, "sleep", 2, "slow")
        sent = group([slow, signature(app, "echo", "fast")], app=app).apply_async()
        assert [meta["result"] for _, meta in sent.iter_native(timeout=WAIT)] == ["fast", "slow"]

    def test_a_member_that_ends_while_the_others_are_looked_at(self, app: Celery) -> None:
        """Another thread fulfils the same objects: for ``then()``, or because it waits for one of them."""
        first = app.AsyncResult(new_id())
        second = AskedAfter(app.tasks["echo"].delay("second").id, app=app)
        second.before_asked = lambda: send_and_get(app, first, "first")
        assert GroupResult(new_id(), [first, second], app=app).join_native(timeout=WAIT) == ["first", "second"]

    def test_a_member_that_ends_between_two_others(self, app: Celery) -> None:
        """Inside a task, which asks for all of them before it waits for the rest."""
        first, second = app.AsyncResult(new_id()), app.tasks["echo"].delay("second")
        wait_until(app.AsyncResult(second.id).ready, "a member that has ended")
        with running(app.tasks["echo"]):
            members = GroupResult(new_id(), [first, second], app=app).iter_native(timeout=WAIT)
            ended = [next(members)]
            send_and_get(app, first, "first")
            ended += members
        assert [meta["result"] for _, meta in ended] == ["second", "first"]

    def test_a_failed_member(self, app: Celery) -> None:
        sent = group([signature(app, "add", 1, 2), signature(app, "fail", "ValueError", "no")], app=app).apply_async()
        with pytest.raises(ValueError, match="no"):
            sent.get(timeout=WAIT)
        values = sent.get(timeout=WAIT, propagate=False)
        assert values[0] == 3
        assert isinstance(values[1], ValueError)

    def test_a_time_limit_for_all(self, app: Celery) -> None:
        app.tasks["add"].delay(1, 2).get(timeout=WAIT)
        known = app.tasks["add"].delay(1, 2)
        results = ResultSet([known, GroupResult(new_id(), [app.AsyncResult(new_id())], app=app)], app=app)
        started = time.monotonic()
        with pytest.raises(celery.exceptions.TimeoutError):
            results.join_native(timeout=0.5)
        assert time.monotonic() - started < WAIT, "a group in a group is waited for within the same time"

    def test_nothing_to_wait_for(self, app: Celery) -> None:
        assert list(app.backend.iter_native(ResultSet([], app=app))) == []

    def test_a_group_in_a_group(self, app: Celery) -> None:
        inner = GroupResult(new_id(), [app.tasks["add"].delay(1, number) for number in range(3)], app=app)
        outer = GroupResult(new_id(), [app.tasks["add"].delay(5, 5), inner], app=app)
        assert outer.join_native(timeout=WAIT) == [10, [1, 2, 3]]

    def test_messages_of_all_members(self, app: Celery) -> None:
        sent = group([signature(app, "progress", 2, 0.05) for _ in range(3)], app=app).apply_async()
        told: list[Any] = []
        assert sent.get(timeout=WAIT, on_message=told.append) == [2, 2, 2]
        assert {meta["task_id"] for meta in told} == {result.id for result in sent}

    def test_sending_a_chord_watches_nothing(self, app: Celery) -> None:
        if isinstance(app.backend, RPCBackend):
            pytest.skip("Celery has no chords over rpc")
        header = [signature(app, "add", number, 0) for number in range(3)]
        sent = chord(header, app.signature("total", app=app), app=app).apply_async()
        assert not watcher_of(app).stats().thread_alive
        assert sent.get(timeout=WAIT) == 3

    def test_chords(self, app: Celery) -> None:
        if isinstance(app.backend, RPCBackend):
            pytest.skip("Celery has no chords over rpc")
        header = [signature(app, "add", number, 0) for number in range(3)]
        assert chord(header, app.signature("total", app=app), app=app).apply_async().get(timeout=WAIT) == 3


class TestProcesses:
    def test_forks(self, app: Celery) -> None:
        add = app.tasks["add"]
        assert add.delay(1, 2).get(timeout=WAIT) == 3
        before = add.delay(3, 4)

        def child() -> None:
            assert add.delay(5, 6).get(timeout=WAIT) == 11

        assert [run_in_child(child) for _ in range(3)] == [0] * 3
        assert before.get(timeout=WAIT) == 7
        assert add.delay(7, 8).get(timeout=WAIT) == 15

    def test_a_child_can_wait_for_what_its_parent_sent(self, app: Celery) -> None:
        if isinstance(app.backend, RPCBackend):
            pytest.skip("over rpc the reply goes to the parent")
        sent = app.tasks["sleep"].delay(0.3, "slept")
        sent.then(lambda _: None)
        assert run_in_child(lambda: _expect(sent.get(timeout=WAIT), "slept")) == 0
        assert sent.get(timeout=WAIT) == "slept"

    def test_pickled_results(self, app: Celery) -> None:
        app.set_default()
        try:
            sent = app.tasks["add"].delay(1, 2)
            copy: AsyncResult[Any] = pickle.loads(pickle.dumps(sent))
            assert type(copy.backend) is type(app.backend)
            assert copy.get(timeout=WAIT) == 3
        finally:
            from celery import _state

            _state.default_app = None


def test_a_worker_waits_with_it_too(apps: DropIns, worker_for: WorkerPool, worker: TaskWorker) -> None:
    own = f"{worker.settings['task_default_queue']}-waiting"
    queues = {**(worker.settings.get("task_queues") or {}), own: {"exchange": "", "routing_key": own}}
    waiting = worker_for(
        broker_url=worker.settings["broker_url"],
        result_backend=f"bgresults+{worker.settings['result_backend']}",
        task_default_queue=own,
        # That of the other worker is not like any other.
        task_queues=queues,
    )
    app = apps(waiting)
    before, value, after = app.tasks["wait_for_another"].delay(worker.settings["task_default_queue"]).get(timeout=WAIT)
    assert value == "slept"
    assert before == [], "no thread of ours until a task really waits"
    assert len(after) == 1


@pytest.mark.rabbitmq
class TestReplies:
    @pytest.fixture
    def worker(self, worker_for: WorkerPool, rabbitmq_url: str) -> TaskWorker:
        return rpc_worker(worker_for, rabbitmq_url)

    def test_one_queue_for_every_thread(self, app: Celery, rabbitmq_url: str) -> None:
        sent = in_threads(16, lambda number: app.tasks["add"].delay(number, 1))
        # In other threads than those that sent.
        assert [result.get(timeout=WAIT) for result in sent] == list(range(1, 17))
        assert adding_chain(app, 1, 2, 3).apply_async().get(timeout=WAIT) == 6
        assert app.tasks["retry_once"].delay("again").get(timeout=WAIT) == "again"
        assert not queue_exists(rabbitmq_url, app.thread_oid), "Celery's own"
        reply_to = watcher_of(app).reply_to
        assert reply_to is not None
        assert queue_exists(rabbitmq_url, reply_to)

    def test_asking_for_states_takes_nothing_away(self, app: Celery) -> None:
        sent = app.tasks["progress"].delay(2, 1.0)
        seen: set[str] = set()

        def ended() -> bool:
            seen.add(sent.state)
            return "SUCCESS" in seen

        wait_until(ended, "the end")
        assert "PROGRESS" in seen
        assert sent.get(timeout=WAIT) == 2
        assert app.AsyncResult(sent.id).state == "SUCCESS"

    def test_a_reply_that_is_forgotten(self, app: Celery) -> None:
        sent, other = app.tasks["add"].delay(1, 2), app.tasks["add"].delay(3, 4)
        assert [sent.get(timeout=WAIT), other.get(timeout=WAIT)] == [3, 7]
        sent.forget()
        assert sent.state == "PENDING"
        with pytest.raises(celery.exceptions.TimeoutError):
            app.AsyncResult(sent.id).get(timeout=0.1)
        assert app.AsyncResult(other.id).get(timeout=WAIT) == 7

    def test_the_first_question_knows_what_is_in_the_queue(self, app: Celery) -> None:
        sent = app.tasks["add"].delay(1, 2)
        told = threading.Event()
        sent.then(lambda _: told.set())
        assert told.wait(WAIT)
        # The first reply may have come before it was asked for.
        before = watcher_of(app).stats().buffered
        later = app.tasks["add"].delay(3, 4)
        wait_until(lambda: watcher_of(app).stats().buffered > before, "a reply that nobody has asked for")
        assert app.AsyncResult(later.id).ready()

    def test_sent_by_a_task_with_a_queue_for_each(self, app: Celery) -> None:
        """In a worker, where no thread runs until somebody waits."""
        add = app.tasks["add"]
        with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding="task")) as watcher:
            with running(add):
                sent = [add.delay(number, 1) for number in range(3)]
                with pytest.raises(NotWatchableError, match="more than 255 bytes"):
                    add.apply_async((1, 2), task_id="x" * 256)
            assert watcher.stats().state == "idle"
            assert [result.get(timeout=WAIT) for result in sent] == [1, 2, 3]

    @pytest.mark.parametrize("binding", ["process", "task"])
    def test_sent_by_a_task_whose_connection_is_lost(self, app: Celery, binding: Any) -> None:
        """It had been idle in the pool, and its broker was restarted."""
        add = app.tasks["add"]
        with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding=binding)):
            with running(add):
                lose_pooled_connection(add)
                sent = add.delay(1, 2)
            assert sent.get(timeout=WAIT) == 3

    def test_sent_by_a_task_that_may_not_try_again(self, app: Celery) -> None:
        add = app.tasks["add"]
        app.conf.task_publish_retry = False
        with running(add):
            lose_pooled_connection(add)
            with pytest.raises(OperationalError):
                add.delay(1, 2)
            assert add.delay(1, 2).get(timeout=WAIT) == 3

    def test_asking_again_with_a_queue_for_each(self, app: Celery) -> None:
        """Its queue stays while somebody holds a future, also when a get() has given up."""
        with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding="task")) as watcher:
            sent = app.tasks["sleep"].delay(1.0, "slept")
            kept = watcher.watch(sent)
            with pytest.raises(celery.exceptions.TimeoutError):
                sent.get(timeout=0.1)
            wait_until(kept.done, "the reply", WAIT)
            assert sent.get(timeout=WAIT) == "slept"

    @pytest.mark.parametrize("again", [False, True], ids=["sent", "retried"])
    def test_a_queue_of_that_name_that_was_made_otherwise(self, app: Celery, rabbitmq_url: str, again: bool) -> None:
        """By whoever sent the task first, before a setting was changed."""
        add, task_id = app.tasks["add"], new_id()
        make_queue(rabbitmq_url, task_id, expires=60)
        with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding="task")):
            with running(add, id=task_id if again else new_id(), reply_to=task_id):
                if again:
                    with pytest.raises(celery.exceptions.Retry):
                        add.retry((1, 2), countdown=0)
                else:
                    add.apply_async((1, 2), task_id=task_id)
            assert app.AsyncResult(task_id).get(timeout=WAIT) == 3

    def test_a_retry_makes_no_queue(self, app: Celery, rabbitmq_url: str) -> None:
        """Its reply goes where the first sender said."""
        add, task_id, elsewhere = app.tasks["add"], new_id(), new_id()
        make_queue(rabbitmq_url, elsewhere, expires=60)
        with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding="task")):
            with running(add, id=task_id, reply_to=elsewhere), pytest.raises(celery.exceptions.Retry):
                add.retry((1, 2), countdown=0)
            wait_until(lambda: queue_length(rabbitmq_url, elsewhere) > 0, "the reply")
            assert not queue_exists(rabbitmq_url, task_id)


class AskedAfter(AsyncResult[Any]):
    """A result before which something happens, once, whenever it is asked for the first time."""

    before_asked: Callable[[], object] | None = None

    @property
    def _cache(self) -> Any:
        before, self.before_asked = self.before_asked, None
        if before is not None:
            before()
        return self._known

    @_cache.setter
    def _cache(self, known: Any) -> None:
        self._known = known


def send_and_get(app: Celery, result: AsyncResult[Any], value: str) -> None:
    """Have this very object fulfilled, by a task that is sent now."""
    app.tasks["echo"].apply_async((value,), task_id=result.id)
    assert result.get(timeout=WAIT) == value


@contextmanager
def running(task: Any, **request: Any) -> Iterator[None]:
    """As if the task ran here, in a worker: with this in its request."""
    task.push_request(called_directly=False, **request)
    _task_stack.push(task)
    try:
        yield
    finally:
        _task_stack.pop()
        task.pop_request()


def lose_pooled_connection(task: Any) -> None:
    """Over which the next task will be sent."""
    # Has one opened, and no reply queue declared.
    task.apply_async((0, 0), ignore_result=True)
    with task.app.producer_pool.acquire(block=True) as producer:
        producer.channel.connection.transport.sock.shutdown(socket.SHUT_RDWR)


def _expect(value: Any, expected: Any) -> None:
    assert value == expected
