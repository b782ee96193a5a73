"""Traps of Celery's that submit() went into once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group
from celery.exceptions import TaskRevokedError

from bgresults import NotWatchableError, RedisOptions
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures
from bgresults.integrations.celery.settings import read_settings
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def app(redis_server: RedisServer, new_app: NewApp) -> Celery:
    return new_app(result_backend=redis_server.url())


@pytest.fixture
def watcher(app: Celery, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(app)


@pytest.fixture
def writer(redis_server: RedisServer) -> Iterator[ResultWriter]:
    results = ResultWriter(redis_server)
    yield results
    results.close()


def echo(app: Celery, *args: Any) -> Any:
    return app.signature("echo", args, app=app)


class TestUnsubscribing:
    """Before 5.7, a result that goes unsubscribes, over the network, from what nobody had subscribed to."""

    def test_no_result_of_ours_does(
        self, app: Celery, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str] = []
        consumer = app.backend.result_consumer
        monkeypatch.setattr(consumer, "cancel_for", seen.append)
        futures = [
            watcher.submit("echo", (1,)),
            watcher.submit(chain(echo(app, 1), echo(app), app=app)),
            watcher.submit(group(echo(app, 1), chain(echo(app, 2), echo(app), app=app), app=app)),
            watcher.submit(chord([echo(app, 1), echo(app, 2)], chain(echo(app), echo(app), app=app), app=app)),
        ]
        gc.collect()
        assert len(futures) == 4
        assert seen == []


class TestStepsBefore:
    """Futures that would wait for what nobody will ever store."""

    def test_of_a_group_at_the_end(self, app: Celery, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
        futures = watcher.submit(chain(echo(app, 1), group(echo(app), echo(app), app=app), app=app), task_id=None)
        assert isinstance(futures, GroupFutures)
        assert watcher.pending == 3
        first = (writer_ids(watcher) - {future.task_id for future in futures}).pop()
        writer.write(first, REVOKED, "REVOKED")
        for future in futures:
            assert isinstance(future.exception(WAIT), TaskRevokedError)

    def test_of_a_member(self, app: Celery, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
        futures = watcher.submit(group(chain(echo(app, 1), echo(app), app=app), echo(app, 2), app=app))
        assert isinstance(futures, GroupFutures)
        first = (writer_ids(watcher) - {future.task_id for future in futures}).pop()
        writer.write(first, REVOKED, "REVOKED")
        assert isinstance(futures.exception(WAIT), TaskRevokedError)
        assert not futures[1].done()

    def test_of_a_member_of_a_chords_header(
        self, app: Celery, watcher: CeleryResultWatcher, writer: ResultWriter
    ) -> None:
        header = [chain(echo(app, 1), echo(app), app=app), echo(app, 2)]
        futures = watcher.submit(chord(header, echo(app), app=app))
        assert isinstance(futures, GroupFutures)
        assert isinstance(futures.body, CeleryResultFuture)
        known = {futures.body.task_id, *(future.task_id for future in futures)}
        writer.write((writer_ids(watcher) - known).pop(), REVOKED, "REVOKED")
        assert isinstance(futures.exception(WAIT), TaskRevokedError)


REVOKED = {"exc_type": "TaskRevokedError", "exc_message": ["revoked"], "exc_module": "celery.exceptions"}


def writer_ids(watcher: CeleryResultWatcher) -> set[str]:
    """All that is watched."""
    return set(watcher._session.pending.ids())


class TestTasksWithAnApplyAsyncOfTheirOwn:
    def test_that_sends_nothing(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        class Singleton(Task):
            name = "singleton"

            def apply_async(self, *_: Any, **__: Any) -> Any:
                return self.AsyncResult("the one that is queued already")

        future = watcher.submit(app.register_task(Singleton()))
        assert isinstance(future.exception(0), NotWatchableError)
        assert "the one that is queued already" in str(future.exception(0))
        assert watcher.pending == 0

    def test_that_runs_it(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        class Here(Task):
            name = "here"

            def run(self) -> str:
                return "ran here"

            def apply_async(self, *_: Any, **options: Any) -> Any:
                return self.apply(task_id=options["task_id"])

        assert watcher.submit(app.register_task(Here())).result(0) == "ran here"
        assert watcher.pending == 0


class TestIgnored:
    def quiet(self, app: Celery) -> Any:
        return echo(app, 1).set(ignore_result=True)

    def test_an_option_is_for_the_first_step_of_a_chain(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        with pytest.raises(ValueError, match="ignored"):
            watcher.submit(chain(echo(app, 1), self.quiet(app), app=app), ignore_result=False)
        watcher.submit(chain(echo(app, 1), echo(app), app=app), ignore_result=True).cancel()

    def test_a_member_of_a_chords_header(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        with pytest.raises(ValueError, match="ignored"):
            watcher.submit(chord([self.quiet(app), echo(app, 2)], echo(app), app=app))

    def test_nothing_to_send(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        with pytest.raises(ValueError, match="empty chain"):
            watcher.submit(chain(app=app))
        with pytest.raises(ValueError, match="without a body"):
            watcher.submit(chord([echo(app, 1)], app=app))


class TestChordsWithAGroupBehind:
    def test_cancelled_as_a_whole(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        futures = watcher.submit(chord([echo(app, 1), echo(app, 2)], group(echo(app), echo(app), app=app), app=app))
        assert watcher.pending == 4
        futures.cancel()
        wait_until(lambda: watcher.pending == 0, "the end of all four")

    def test_revoked_as_a_whole(
        self, app: Celery, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        revoked: list[str] = []
        monkeypatch.setattr(type(app.control), "revoke", lambda _control, ids, **_: revoked.extend(ids))
        futures = watcher.submit(chord([echo(app, 1), echo(app, 2)], group(echo(app), echo(app), app=app), app=app))
        futures.revoke()
        assert sorted(revoked) == sorted(writer_ids(watcher))
        assert len(revoked) == 4


def test_a_group_of_one_chain_that_ends_in_a_group(
    app: Celery, watcher: CeleryResultWatcher, writer: ResultWriter
) -> None:
    """Is that group, to Celery."""
    inner = chain(echo(app, 1), group(echo(app), echo(app), app=app), app=app)
    futures = watcher.submit(group(inner, app=app))
    assert isinstance(futures, GroupFutures)
    for number, future in enumerate(futures):
        writer.write(future.task_id, number)
    assert futures.result(WAIT) == [0, 1]


class TestEager:
    def test_a_body_that_waits_for_something_of_its_own(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        app.conf.task_always_eager = True
        seen: list[Any] = []

        @app.task(name="asks", shared=False)
        def asks() -> None:
            seen.append(app.backend.add_pending_result(app.AsyncResult(new_id())).id)
            seen.append(app.backend.result_consumer.subscribed_to)

        assert watcher.submit(asks).exception(0) is None
        assert any(seen[0] in str(key) for key in seen[1]), "Celery's own subscription went through"
        app.backend.result_consumer.stop()

    def test_a_chain_with_a_group_needs_no_backend(self, app: Celery, from_celery: FromCelery) -> None:
        app.conf.update(task_always_eager=True, result_backend="disabled://")

        @app.task(name="one more", shared=False)
        def more(number: int) -> int:
            return number + 1

        @app.task(name="all of it", shared=False)
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        steps = chain(more.s(1), group(more.s(), more.s(), app=app), total.s(), app=app)
        assert from_celery(app).submit(steps).result(0) == 6


class TestSettings:
    @pytest.mark.parametrize("how", ["in the URL", "redis_backend_use_ssl"])
    def test_a_host_that_is_not_to_be_checked(self, new_app: NewApp, how: str) -> None:
        if how == "in the URL":
            app = new_app(result_backend="rediss://localhost?ssl_cert_reqs=required&ssl_check_hostname=False")
        else:
            options = {"ssl_cert_reqs": "required", "ssl_check_hostname": False}
            app = new_app(result_backend="rediss://localhost", redis_backend_use_ssl=options)
        assert read_settings(app, {})["redis"] == RedisOptions(ssl_cert_reqs="required", ssl_check_hostname=False)

    def test_a_url_of_ones_own_beside_a_backend_that_cannot_be_watched(
        self, redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery, writer: ResultWriter
    ) -> None:
        watcher = from_celery(new_app(result_backend="rpc://"), url=redis_server.url())
        task_id = new_id()
        writer.store(task_id, 1)
        assert watcher.watch(task_id).result(WAIT) == 1

    def test_an_iterator_of_serializers(self, app: Celery, from_celery: FromCelery) -> None:
        watcher = from_celery(app, accept=iter(["json"]))
        assert watcher.wait_ready(WAIT)
        assert from_celery(app, accept=["json"]) is watcher

    @pytest.mark.parametrize(
        "settings",
        [
            {"result_backend": "redis://:SECRET/@localhost:1/0"},
            {"result_backend": "redis://:SECRET@localhost:port/0"},
            {"result_backend": "redis://localhost", "result_serializer": "nonsense"},
            {"result_backend": "redis://localhost", "result_accept_content": ["nonsense"]},
        ],
    )
    def test_what_celery_cannot_read(self, new_app: NewApp, from_celery: FromCelery, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="Celery") as caught:
            from_celery(new_app(**settings)).watch("id")
        assert "SECRET" not in str(caught.value)
