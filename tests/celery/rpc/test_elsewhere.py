"""Ids whose replies go elsewhere are refused, and AsyncResult.get() works beside a watcher."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery, group
from celery.signals import before_task_publish

from bgresults import NotWatchableError
from bgresults.integrations.celery import CeleryResultWatcher
from tests.support.results import new_id, new_ids
from tests.support.rpc_workers import WebApps, rpc_settings, signature
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]

with_rabbitmq = pytest.mark.rabbitmq


class TestElsewhere:
    @pytest.fixture
    def alone(self, apps: WebApps) -> Celery:
        return apps(rpc_settings("memory://"))

    @with_rabbitmq
    def test_refused_at_once(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        assert watcher.wait_ready(WAIT)
        sent, steps = signature(app, "add", 1, 2).delay(), adding_chain(app, 1, 2, 3).delay()
        both = group(signature(app, "add", 1, 2), signature(app, "add", 3, 4), app=app).delay()
        for use in (
            lambda: watcher.watch(sent),
            lambda: watcher.watch(sent.id),
            lambda: watcher.watch_many([new_id(), sent.id]),
            lambda: watcher.updates(sent),
            lambda: watcher.watch(steps),
            lambda: watcher.watch(steps.id),
            lambda: watcher.watch_group(both),
        ):
            with pytest.raises(NotWatchableError, match=r"goes to the reply queue.*route_replies") as caught:
                use()
            assert app.thread_oid in str(caught.value)
        assert watcher.pending == 0
        # And this is where they are.
        assert sent.get(timeout=WAIT) == 3
        assert steps.get(timeout=WAIT) == 6
        assert both.get(timeout=WAIT) == [3, 7]

    @with_rabbitmq
    def test_while_others_are_watched(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """Celery's own way and ours, side by side in one thread."""
        for number in range(5):
            sent = signature(app, "add", number, 1).delay()
            future = watcher.submit("add", (number, 2))
            assert sent.get(timeout=WAIT) == number + 1
            assert future.result(WAIT) == number + 2
        assert app.AsyncResult(new_id()).state == "PENDING"

    @with_rabbitmq
    def test_an_id_that_this_process_did_not_send(self, watcher: CeleryResultWatcher) -> None:
        future = watcher.watch(new_id())
        assert not future.done()

    def test_bounded(self, alone: Celery, from_celery: FromCelery) -> None:
        watcher = from_celery(alone)
        assert watcher.wait_ready(WAIT)
        ids = new_ids(10_200)

        def publish(task_id: str) -> None:
            properties = {"correlation_id": task_id, "reply_to": "elsewhere"}
            before_task_publish.send(sender="add", body=((), {}, {}), headers={"id": task_id}, properties=properties)

        in_threads(4, lambda number: list(map(publish, ids[number:-20:4])))
        # Threads that came at the same moment may have made more room than was needed.
        for task_id in ids[-20:]:
            publish(task_id)
        refused = 0
        for task_id in ids:
            try:
                watcher.watch(task_id, lifetime=WAIT)
            except NotWatchableError:
                refused += 1
        assert refused == 10_000

    def test_told_where_it_should_have_gone(self, alone: Celery, from_celery: FromCelery) -> None:
        watcher = from_celery(alone)
        task_id = new_id()
        reply_to = watcher.declare_for(task_id)
        alone.send_task("add", (1, 2), task_id=task_id, reply_to=reply_to)
        assert not watcher.watch(task_id).done()
