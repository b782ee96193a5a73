"""``FakeResults`` and Celery applications: tasks go nowhere, and end as ``when()`` says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import ChordError
from celery.signals import before_task_publish
from kombu.exceptions import EncodeError, OperationalError

from bgresults import NotWatchableError, ResultDecodeError, ResultWatcher, TaskRevokedError, WatchExpiredError
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, install
from bgresults.testing import FakeResults, SentTask
from tests.support.waiting import wait_until

NOWHERE = "redis://nowhere.invalid/0"
BROKERS = "amqp://nowhere.invalid//"


@pytest.fixture
def fake() -> Iterator[FakeResults]:
    with FakeResults() as fake:
        yield fake


def new_app(**settings: Any) -> Celery:
    """An application none of whose servers exist."""
    app = Celery(
        "proj", broker=settings.pop("broker", NOWHERE), backend=settings.pop("backend", NOWHERE), set_as_current=False
    )
    app.conf.update(settings)

    @app.task(name="proj.add", shared=False, typing=False)
    def add(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("tasks do not run here")

    @app.task(name="proj.total", shared=False, typing=False)
    def total(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("tasks do not run here")

    return app


def submit_one(watcher: CeleryResultWatcher, *args: Any, **options: Any) -> CeleryResultFuture:
    future = watcher.submit("proj.add", *args, **options)
    assert isinstance(future, CeleryResultFuture)
    return future


@contextmanager
def opened(app: Celery, **overrides: Any) -> Iterator[CeleryResultWatcher]:
    """The watcher of an application, for a while."""
    watcher = ResultWatcher.from_celery(app, **overrides)
    try:
        yield watcher
    finally:
        watcher.close()


@pytest.fixture
def app() -> Iterator[Celery]:
    app = new_app()
    yield app
    ResultWatcher.from_celery(app).close()
    app.close()


@pytest.fixture
def watcher(fake: FakeResults, app: Celery) -> CeleryResultWatcher:
    return ResultWatcher.from_celery(app)


class TestWhen:
    def test_returns(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when("proj.add").returns({"sum": 3})
        future = watcher.submit(app.tasks["proj.add"], (1, 2))
        assert future.result(0) == {"sum": 3}

    def test_raises(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when(app.tasks["proj.add"]).raises(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            watcher.submit("proj.add", (1, 2)).result(0)

    def test_runs(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        """With the arguments that a worker would get."""
        seen: list[Any] = []

        def add(x: Any, *, y: Any) -> Any:
            seen.append((x, y))
            return x[0] / y

        fake.when("proj.add").runs(add)
        assert watcher.submit("proj.add", ((6, 7),), {"y": 2}).result(0) == 3
        with pytest.raises(ZeroDivisionError):
            watcher.submit("proj.add", ([1],), {"y": 0}).result(0)
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
            watcher.submit("proj.add", (1,)).result(0)
        assert seen == [([6, 7], 2), ([1], 0)]

    def test_states_before_the_final_one(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        heard: list[Any] = []
        rule = fake.when("proj.add").progress({"page": 1}).progress(None, state="STARTED")
        rule.returns(3)
        future = watcher.submit("proj.add", on_update=lambda meta: heard.append((meta.status, meta.result)))
        assert future.result(0) == 3
        assert heard == [("PROGRESS", {"page": 1}), ("STARTED", None), ("SUCCESS", 3)]

    def test_the_last_one_counts(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when("proj.add").returns(1)
        fake.when("proj.add").returns(2)
        assert watcher.submit("proj.add").result(0) == 2

    def test_a_value_that_cannot_be_serialized(
        self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher
    ) -> None:
        fake.when("proj.add").returns(object())
        fake.when("proj.total").progress(object()).returns(1)
        for name in ("proj.add", "proj.total"):
            with pytest.raises(EncodeError, match="not JSON serializable"):
                watcher.submit(name, (1, 2)).result(0)

    def test_plain_delay(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when("proj.add").returns(3)
        sent = app.tasks["proj.add"].delay(1, 2)
        assert watcher.watch(sent.id).result(5) == 3
        assert sent.get(timeout=5) == 3
        assert (sent.state, sent.ready()) == ("SUCCESS", True)
        sent.forget()
        assert sent.state == "PENDING"

    def test_of_a_signature(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when(app.signature("proj.add")).returns(3)
        assert watcher.submit(app.signature("proj.add", (1, 2))).result(0) == 3

    def test_send_task_by_name(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.when("elsewhere.unknown").returns(3)
        assert watcher.watch(app.send_task("elsewhere.unknown", queue="slow")).result(5) == 3
        assert [(task.name, task.queue) for task in fake.sent] == [("elsewhere.unknown", "slow")]

    def test_what_nobody_has_said_anything_of_waits(
        self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher
    ) -> None:
        future = submit_one(watcher)
        assert fake.pending == [future.task_id]
        assert fake.loose_ends() == [f"still waited for: task {future.task_id!r} (proj.add)"]
        fake.progress(future, {"page": 1}, state="BUILDING")
        assert future.status == "BUILDING"
        fake.resolve(future, 3)
        assert future.result(0) == 3

    def test_a_rule_that_was_not_used(self, fake: FakeResults) -> None:
        fake.when("proj.addd").returns(1)
        (line,) = fake.loose_ends()
        assert line.startswith("never sent: task 'proj.addd'")

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda fake: fake.when(7), TypeError, "a task or the name of one, such as"),
            (lambda fake: fake.when(""), ValueError, "not an empty str"),
            (lambda fake: fake.when("x").raises("no exception"), TypeError, "with an Exception"),
            (lambda fake: fake.when("x").runs(7), TypeError, "a function of the task's arguments, not int"),
            (lambda fake: fake.when("x").progress(state="FAILURE"), ValueError, "FAILURE ends a task"),
        ],
    )
    def test_what_makes_no_sense(
        self, fake: FakeResults, call: Callable[[FakeResults], Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            call(fake)
        assert fake.loose_ends() == []


class TestSending:
    def test_what_was_sent(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        future = submit_one(watcher, (1, (2, 3)), {"z": 4}, queue="reports")
        app.tasks["proj.total"].delay([1])
        assert fake.sent[0] == SentTask(future.task_id, "proj.add", [1, [2, 3]], {"z": 4}, "reports")
        assert [task.name for task in fake.sent] == ["proj.add", "proj.total"]

    def test_arguments_that_cannot_be_serialized_fail_in_the_sender(
        self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher
    ) -> None:
        with pytest.raises(EncodeError):
            app.tasks["proj.add"].delay(object(), 1)
        assert isinstance(watcher.submit("proj.add", (object(),)).exception(0), EncodeError)
        assert fake.sent == []

    def test_signals_and_routes_are_celerys(self, fake: FakeResults, watcher: CeleryResultWatcher, app: Celery) -> None:
        published: list[Any] = []

        def on_publish(sender: Any = None, routing_key: Any = None, **_: Any) -> None:
            published.append((sender, routing_key))

        app.conf.task_routes = {"proj.*": {"queue": "of-proj"}}
        before_task_publish.connect(on_publish)
        try:
            app.send_task("proj.add")
        finally:
            before_task_publish.disconnect(on_publish)
        assert published == [("proj.add", "of-proj")]

    def test_a_broker_that_is_away(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        fake.disconnect_broker("nobody listens")
        with pytest.raises(OperationalError, match="nobody listens"):
            watcher.submit("proj.add").result(0)
        with pytest.raises(OperationalError):
            app.tasks["proj.add"].delay(1, 2)
        with pytest.raises(OperationalError):
            app.control.revoke("a")
        fake.reconnect_broker()
        fake.when("proj.add").returns(3)
        assert watcher.submit("proj.add").result(0) == 3
        assert len(fake.sent) == 1

    def test_revoking(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        future, other = submit_one(watcher), submit_one(watcher)
        future.revoke()
        with pytest.raises(TaskRevokedError):
            future.result(0)
        app.control.revoke([future.task_id, other.task_id])
        with pytest.raises(TaskRevokedError):
            other.result(0)
        assert app.control.inspect().ping() is None

    def test_revoking_what_was_not_there_in_time(
        self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher
    ) -> None:
        future = watcher.submit("proj.add", lifetime=0.05, revoke_on_timeout=True)
        with pytest.raises(WatchExpiredError):
            future.result(5)
        wait_until(lambda: "REVOKED" in fake.summary(), "the revocation")

    def test_during_an_outage_of_the_backend_alone(
        self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher
    ) -> None:
        fake.when("proj.add").returns(3)
        fake.disconnect()
        future = watcher.submit("proj.add")
        assert not future.done()
        fake.reconnect()
        assert future.result(0) == 3

    def test_eager_mode_runs_the_task_itself(self, fake: FakeResults) -> None:
        app = new_app(task_always_eager=True)
        fake.when("proj.add").returns(3)
        with opened(app) as watcher, pytest.raises(AssertionError, match="do not run here"):
            watcher.submit(app.tasks["proj.add"], (1, 2)).result(0)
        assert "task_always_eager" in fake.loose_ends()[0]


class TestCanvas:
    @pytest.fixture(autouse=True)
    def arithmetic(self, fake: FakeResults) -> None:
        fake.when("proj.add").runs(lambda x, y: x + y)
        fake.when("proj.total").runs(sum)

    def test_a_group(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        assert watcher.submit(group(add.s(n, n) for n in range(3))).result(0) == [0, 2, 4]

    def test_a_chain(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        assert watcher.submit(chain(add.s(1, 2), add.s(3), add.s(4))).result(0) == 10
        assert [task.args for task in fake.sent] == [[1, 2], [3, 3], [6, 4]]

    def test_a_chain_that_fails_on_its_way(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        with pytest.raises(TypeError):
            watcher.submit(chain(add.s(1, None), add.s(3))).result(0)
        assert len(fake.sent) == 1

    def test_a_chord(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add, total = app.tasks["proj.add"], app.tasks["proj.total"]
        submitted: Any = watcher.submit(chord([add.s(n, n) for n in range(3)], total.s()))
        assert submitted.result(0) == 6
        assert [future.result(0) for future in submitted] == [0, 2, 4]
        assert [task.name for task in fake.sent] == ["proj.add"] * 3 + ["proj.total"]

    def test_a_chord_that_fails(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        add, total = app.tasks["proj.add"], app.tasks["proj.total"]
        failing: Any = watcher.submit(chord([add.s(1, 1), add.s(1, None)], total.s()))
        with pytest.raises((TypeError, ChordError)):
            failing.result(0)

    def test_resolved_by_hand(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        future = watcher.submit(chain(app.signature("proj.slow"), add.s(1)))
        (slow,) = fake.sent
        fake.resolve(slow, 41)
        assert future.result(0) == 42

    def test_links(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        failing = app.signature("proj.reported", immutable=True)
        watcher.submit(add.s(1, 2).set(link=add.s(10), link_error=failing)).result(0)
        watcher.submit(add.s(1, None).set(link=add.s(10), link_error=failing)).exception(0)
        assert [(task.name, task.args) for task in fake.sent] == [
            ("proj.add", [1, 2]),
            ("proj.add", [3, 10]),
            ("proj.add", [1, None]),
            ("proj.reported", []),
        ]

    def test_a_saved_group(self, fake: FakeResults, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["proj.add"]
        sent = group(add.s(n, n) for n in range(3)).apply_async()
        sent.save()
        assert watcher.watch_group(sent.id).result(5) == [0, 2, 4]
        assert sent.get(timeout=5) == sent.join_native(timeout=5) == [0, 2, 4]
        sent.delete()
        with pytest.raises(NotWatchableError):
            watcher.watch_group(sent.id)


class TestSettings:
    def test_replies_through_a_broker(self, fake: FakeResults) -> None:
        app = new_app(backend="rpc://", broker=BROKERS)
        fake.when("proj.add").returns(3)
        with opened(app) as watcher:
            assert watcher.submit(app.tasks["proj.add"], (1, 2)).result(0) == 3
            sent = app.tasks["proj.add"].delay(1, 2)
            with pytest.raises(NotWatchableError, match="under route_replies"):
                watcher.watch(sent.id)
            with watcher.route_replies():
                assert watcher.watch(app.tasks["proj.add"].delay(1, 2)).result(5) == 3

    def test_one_queue_for_each_task(self, fake: FakeResults) -> None:
        from bgresults import AMQPOptions

        app = new_app(backend="rpc://", broker=BROKERS)
        fake.when("proj.add").returns(3)
        with opened(app, amqp=AMQPOptions(binding="task")) as watcher:
            assert watcher.submit(app.tasks["proj.add"], (1, 2)).result(0) == 3

    def test_the_serializer_is_the_applications(self, fake: FakeResults) -> None:
        app = new_app(result_serializer="pickle", accept_content=["pickle", "json"])
        fake.when("proj.add").returns({1, 2})
        with opened(app) as watcher:
            assert watcher.submit("proj.add").result(0) == {1, 2}
            with ResultWatcher(NOWHERE) as other, pytest.raises(ResultDecodeError, match="is not accepted"):
                other.watch(fake.sent[0].id).result(5)

    def test_so_is_that_of_results_whose_tasks_were_sent_elsewhere(self, fake: FakeResults) -> None:
        app = new_app(result_serializer="pickle", accept_content=["pickle"])
        with opened(app) as watcher:
            submit_one(watcher)
            future = watcher.watch("of another process")
            fake.resolve(future, {1, 2})
            assert future.result(0) == {1, 2}

    def test_unless_another_one_was_asked_for(self, app: Celery) -> None:
        with FakeResults(serializer="pickle") as fake, opened(app) as watcher:
            submit_one(watcher)
            future = fake.watcher(serializer="pickle").watch("of another process")
            fake.resolve(future, {1, 2})
            assert future.result(0) == {1, 2}

    @pytest.mark.parametrize("protocol", [1, 2])
    def test_both_protocols(self, fake: FakeResults, protocol: int) -> None:
        app = new_app(task_protocol=protocol, task_send_sent_event=True)
        fake.when("proj.add").runs(lambda x, y: x + y)
        with opened(app) as watcher:
            assert watcher.submit("proj.add", (1, 2)).result(0) == 3
        assert len(fake.sent) == 1

    def test_results_that_are_ignored_are_not_stored(self, fake: FakeResults, app: Celery) -> None:
        fake.when("proj.add").returns(3)
        sent = app.tasks["proj.add"].apply_async((1, 2), ignore_result=True)
        assert len(fake.sent) == 1
        assert "SUCCESS" not in fake.summary()
        assert sent.id == fake.sent[0].id

    def test_extended_results(self, fake: FakeResults) -> None:
        app = new_app(result_extended=True)
        fake.when("proj.add").returns(3)
        with opened(app) as watcher:
            meta = submit_one(watcher, (1, 2)).meta
        assert meta is not None
        assert (meta.name, meta.args, meta.worker) == ("proj.add", [1, 2], "bgresults-testing")

    def test_the_drop_in(self, fake: FakeResults) -> None:
        app = new_app()
        install(app)
        fake.when("proj.add").returns(3)
        assert app.tasks["proj.add"].delay(1, 2).get(timeout=5) == 3

    def test_where_results_cannot_be_watched(self, fake: FakeResults) -> None:
        app = new_app(backend="file:///tmp")
        with pytest.raises(NotWatchableError, match="cannot be watched"):
            ResultWatcher.from_celery(app).submit("proj.add")

    def test_afterwards_applications_are_as_before(self, app: Celery) -> None:
        before = app.backend
        with FakeResults() as fake:
            assert app.backend is not before
            fake.when("proj.add").returns(3)
            app.tasks["proj.add"].delay(1, 2).get(timeout=5)
        assert app.backend is before
        assert app.producer_or_acquire.__func__ is Celery.producer_or_acquire
        assert "bgresults" not in Celery.producer_or_acquire.__module__


class Quirky(Exception):
    """Its arguments are not those that it was made with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", {code})


@pytest.mark.parametrize(
    "outcome",
    [None, "é", {"a": [1, (2,)]}, object(), ValueError("x"), Quirky(7), TimeoutError(), TaskRevokedError("revoked")],
    ids=lambda outcome: type(outcome).__name__,
)
def test_what_celery_writes_and_what_is_written_without_it_are_the_same(
    fake: FakeResults, watcher: CeleryResultWatcher, outcome: Any
) -> None:
    """A task that was sent ends by Celery's own code, another one without."""
    sent, unsent = submit_one(watcher), watcher.watch("unsent")
    told = []
    for future in (sent, unsent):
        if isinstance(outcome, TaskRevokedError):
            fake.revoke(future)
        elif isinstance(outcome, Exception):
            fake.fail(future, outcome)
        else:
            fake.resolve(future, outcome)
        assert future.meta is not None
        raw = dict(future.meta.raw or {})
        # The frames differ.
        raw["traceback"] = str(raw["traceback"]).splitlines()[-1]
        told.append({**raw, "task_id": "", "date_done": bool(raw["date_done"])})
    assert told[0] == told[1]


WITHOUT_CELERY = """
import sys

sys.modules["celery"] = None  # what an import of it finds
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "celery" else found(name, *more)

from bgresults.testing import FakeResults

with FakeResults() as fake:
    future = fake.watcher().watch("a")
    fake.revoke("a")
    print(type(future.exception(0)).__name__)
    for call in (lambda: fake.when("x"), fake.disconnect_broker):
        try:
            call()
        except RuntimeError as error:
            print(error)
"""


def test_without_celery() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_CELERY], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    revoked, *errors = done.stdout.splitlines()
    assert revoked == "TaskRevokedError"
    assert len(errors) == 2
    assert all("pip install 'bgresults[celery]'" in error for error in errors)
