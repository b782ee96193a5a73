"""submit(): watched first, sent second, and what happens when either is refused."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.exceptions import TaskRevokedError
from kombu.exceptions import OperationalError

from bgresults import BackendUnavailableError, TooManyPendingError, WatchExpiredError
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, state_body
from tests.support.sockets import connections
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker, WorkerPool

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    return worker_for()


@pytest.fixture
def app(worker: TaskWorker) -> Celery:
    return worker.make_app()


@pytest.fixture
def watcher(app: Celery, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(app)


@pytest.fixture
def writer(own_redis: RedisServer) -> Iterator[ResultWriter]:
    results = ResultWriter(own_redis)
    yield results
    results.close()


def one(future: CeleryResultFuture | GroupFutures) -> CeleryResultFuture:
    assert isinstance(future, CeleryResultFuture)
    return future


class TestWhatCanBeSent:
    def test_a_name(self, watcher: CeleryResultWatcher) -> None:
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3

    def test_a_task(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        add = app.tasks["add"]
        assert watcher.submit(add, (1,), {"y": 2}).result(WAIT) == 3
        assert watcher.submit(add, kwargs={"x": 3, "y": 4}).result(WAIT) == 7

    def test_a_task_of_another_application(self, watcher: CeleryResultWatcher, new_app: NewApp) -> None:
        """If it is known here too, it is this application's task; else nobody would store its result where we look."""
        other = new_app()

        @other.task(name="only there", shared=False)
        def only_there() -> None: ...

        with pytest.raises(ValueError, match="belongs to Celery app 'web'"):
            watcher.submit(only_there)
        with pytest.raises(ValueError, match="belongs to Celery app 'web'"):
            watcher.submit(only_there.s())

    def test_signatures(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        assert watcher.submit(app.signature("add", (1, 2))).result(WAIT) == 3
        assert watcher.submit(app.signature("add", (2,)), (1,)).result(WAIT) == 3, "partial"
        assert watcher.submit(dict(app.signature("add", (1, 2)))).result(WAIT) == 3, "as it travels"

    def test_a_signature_is_sent_as_often_as_one_likes(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        signature = app.signature("add", (1, 2))
        canvas = group(signature, group(adding_chain(app, 1, 2, 3), app=app), app=app)
        before = repr(canvas)
        futures = [watcher.submit(canvas) for _ in range(2)]
        assert [future.result(WAIT) for future in futures] == [[3, 6]] * 2
        first, second = (
            {member.task_id for member in future} for future in futures if isinstance(future, GroupFutures)
        )
        assert not first & second
        assert repr(canvas) == before

    def test_a_chain_gives_its_last_result(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        assert one(watcher.submit(adding_chain(app, 1, 2, 3, 4))).result(WAIT) == 10
        steps = chain(app.signature("fail", ("KeyError", "k")), app.signature("add", (1,)), app=app)
        # The step that broke; Celery fails those behind it along with it.
        with pytest.raises(KeyError):
            watcher.submit(steps).result(WAIT)

    def test_its_own_id(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        task_id = new_id()
        future = one(watcher.submit("add", (1, 2), task_id=task_id))
        assert future.task_id == task_id
        assert future.result(WAIT) == 3
        frozen = app.signature("add", (1, 2))
        its_own = frozen.freeze().id
        assert one(watcher.submit(frozen)).task_id == its_own
        other = new_id()
        assert one(watcher.submit(frozen, task_id=other)).task_id == other
        futures = watcher.submit(group(app.signature("add", (1, 2)), app=app), task_id=(group_id := new_id()))
        assert isinstance(futures, GroupFutures)
        assert futures.id == group_id
        assert futures.result(WAIT) == [3]
        chained = one(watcher.submit(adding_chain(app, 1, 2, 3), task_id=str(uuid.UUID(int=7))))
        assert chained.task_id == str(uuid.UUID(int=7))
        assert chained.result(WAIT) == 6

    @pytest.mark.parametrize("nothing", [None, 5, object(), ["add"], lambda: 1])
    def test_nothing_that_can_be_sent(self, watcher: CeleryResultWatcher, nothing: Any) -> None:
        with pytest.raises(TypeError, match="submit\\(\\) takes a task"):
            watcher.submit(nothing)

    def test_what_was_sent_already(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        with pytest.raises(TypeError, match="watch\\(\\)"):
            watcher.submit(app.AsyncResult(new_id()))

    def test_options(self, watcher: CeleryResultWatcher) -> None:
        started = time.monotonic()
        assert watcher.submit("add", (1, 2), countdown=0.5).result(WAIT) == 3
        assert time.monotonic() - started >= 0.5


class TestIgnoredResults:
    @pytest.mark.parametrize("how", ["option", "signature", "task", "setting"])
    def test_refused_with_the_reason(
        self, app: Celery, watcher: CeleryResultWatcher, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if how == "setting":
            app.conf.task_ignore_result = True

        @app.task(name="quiet", shared=False, ignore_result=how == "task" or None)
        def quiet() -> None: ...

        task = quiet.s().set(ignore_result=True) if how == "signature" else quiet
        options: dict[str, Any] = {"ignore_result": True} if how == "option" else {}
        with pytest.raises(ValueError, match="'quiet' is ignored"):
            watcher.submit(task, **options)
        assert watcher.pending == 0

    def test_in_a_group(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        quiet = app.signature("add", (1, 2)).set(ignore_result=True)
        with pytest.raises(ValueError, match="is ignored"):
            watcher.submit(group(app.signature("add", (1, 2)), quiet, app=app))
        # The step of a chain that nobody waits for may be.
        loud = app.signature("echo", ("heard",), immutable=True)
        assert watcher.submit(chain(quiet, loud, app=app)).result(WAIT) == "heard"


class TestFailures:
    def test_a_broker_that_is_away(self, redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
        app = new_app(
            broker_url=f"redis://127.0.0.1:{CLOSED_PORT}/0",
            result_backend=redis_server.url(),
            task_publish_retry=False,
        )
        watcher = from_celery(app)
        future = watcher.submit("add", (1, 2))
        assert isinstance(future.exception(0), OperationalError)
        both = watcher.submit(group(app.signature("add", (1, 2)), app.signature("add", (3, 4)), app=app))
        assert isinstance(both, GroupFutures)
        assert all(isinstance(member.exception(0), OperationalError) for member in both)
        assert isinstance(both.exception(0), OperationalError)
        assert watcher.pending == 0
        with redis_server.client() as client:
            wait_until(lambda: not client.pubsub_channels(f"*{one(future).task_id}*"), "the end of the subscription")

    def test_arguments_that_cannot_be_sent(self, watcher: CeleryResultWatcher) -> None:
        future = watcher.submit("echo", (object(),))
        assert future.exception(0) is not None
        assert watcher.pending == 0

    def test_an_interrupt(self, app: Celery, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(app, "send_task", interrupt)
        with pytest.raises(KeyboardInterrupt):
            watcher.submit("add", (1, 2))
        assert watcher.pending == 0

    def test_no_room(self, worker: TaskWorker, from_celery: FromCelery) -> None:
        """What cannot be watched is not sent."""
        watcher = from_celery(worker.make_app(), max_pending=1)
        held = watcher.watch(new_id())
        with pytest.raises(TooManyPendingError):
            watcher.submit("add", (1, 2))
        assert not held.done()

    def test_a_backend_that_cannot_be_used(
        self, worker: TaskWorker, from_celery: FromCelery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = worker.make_app()
        sent: list[Any] = []
        monkeypatch.setattr(app, "send_task", lambda *args, **_: sent.append(args))
        watcher = from_celery(app, url=f"redis://127.0.0.1:{CLOSED_PORT}/0", on_disconnect="fail")
        assert isinstance(watcher.watch(new_id()).exception(WAIT), BackendUnavailableError)
        assert isinstance(watcher.submit("add", (1, 2)).exception(0), BackendUnavailableError)
        assert not sent


class TestExpiry:
    def test_tied_to_the_watch(
        self, app: Celery, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options: list[dict[str, Any]] = []
        send = app.send_task

        def record(*args: Any, **given: Any) -> Any:
            options.append(given)
            return send(*args, **given)

        monkeypatch.setattr(app, "send_task", record)
        watcher.submit("add", (1, 2), expires="watch", lifetime=7.5).result(WAIT)
        watcher.submit("add", (1, 2), expires="watch").result(WAIT)
        watcher.submit("add", (1, 2), expires=33).result(WAIT)
        assert [given.get("expires") for given in options] == [7.5, 86400.0, 33]
        with pytest.raises(ValueError, match="lifetime"):
            watcher.submit("add", (1, 2), expires="watch", lifetime=None)

    def test_a_task_that_nobody_waits_for_any_more_is_revoked(self, watcher: CeleryResultWatcher) -> None:
        future = one(watcher.submit("echo", ("late",), countdown=10, lifetime=0.3, revoke_on_timeout=True))
        again = watcher.watch(future.task_id)
        assert isinstance(future.exception(WAIT), WatchExpiredError)
        assert isinstance(again.exception(WAIT), TaskRevokedError)

        def ended() -> bool:
            return "bgresults-revoker" not in [thread.name for thread in threading.enumerate()]

        wait_until(ended, "the end of the thread that revokes")

    def test_one_that_ends_in_time_is_not(self, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
        revoked: list[str] = []
        monkeypatch.setattr(watcher._revoker, "revoke", revoked.append)
        watcher.submit("add", (1, 2), lifetime=WAIT, revoke_on_timeout=True).result(WAIT)
        watcher.submit("add", (1, 2), lifetime=WAIT, revoke_on_timeout=True).cancel()
        assert not revoked

    def test_by_hand(self, watcher: CeleryResultWatcher) -> None:
        future = one(watcher.submit("echo", ("late",), countdown=10))
        future.revoke()
        with pytest.raises(TaskRevokedError):
            future.result(WAIT)

    def test_while_it_runs(self, watcher: CeleryResultWatcher) -> None:
        future = one(watcher.submit("sleep", (30,)))
        other = one(watcher.submit("pid"))
        assert other.result(WAIT)
        future.revoke(terminate=True, signal="SIGKILL")
        with pytest.raises(TaskRevokedError):
            future.result(WAIT)


def test_progress(
    app: Celery, watcher: CeleryResultWatcher, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    writer = ResultWriter(redis_server)
    send = app.send_task

    def send_when_subscribed(*args: Any, **options: Any) -> Any:
        # The task is short: what it told before would not be told again.
        wait_until(lambda: options["task_id"] in writer.channels(), "the subscription")
        return send(*args, **options)

    monkeypatch.setattr(app, "send_task", send_when_subscribed)
    future = watcher.submit("progress", (3, 0.05), on_update=lambda meta: seen.append(meta.status))
    assert future.result(WAIT) == 3
    assert seen[-1] == "SUCCESS"
    assert "PROGRESS" in seen
    writer.close()


def test_ten_thousand_from_sixteen_threads(
    own_redis: RedisServer, redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery
) -> None:
    """None lost, two connections to the result backend, and not one subscription of Celery's own."""
    app = new_app(broker_url=redis_server.url(5), result_backend=own_redis.url(), task_default_queue=new_id())
    watcher = from_celery(app)
    assert watcher.wait_ready(WAIT)
    writer = ResultWriter(own_redis)
    before = connections(own_redis.port)

    def send(_: int) -> list[CeleryResultFuture]:
        return [one(watcher.submit("add", (1, 2))) for _ in range(625)]

    futures = [future for some in in_threads(16, send, timeout=55) for future in some]
    assert connections(own_redis.port) == before == 3, "two of the watcher, one of the writer"
    wait_until(lambda: len(writer.channels()) == 10_000, "all subscriptions", WAIT)
    subscribed = writer.client.info("commandstats")["cmdstat_subscribe"]["calls"]
    assert subscribed < 10_000, "in batches, so each id but once"
    clients = writer.client.client_list()
    assert sum(int(client["sub"]) for client in clients) == 10_000, "and each of them once"
    assert [client["sub"] for client in clients if client["sub"] != "0"] == ["10000"], "by one client"
    writer.write_all({future.task_id: state_body(future.task_id, result=3) for future in futures})
    assert {future.result(WAIT) for future in futures} == {3}
    assert watcher.pending == 0
    writer.close()
    with redis_server.client(db=5) as broker:
        broker.flushdb()
