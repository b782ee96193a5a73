"""A task id that is sent once more: whoever asks from then on gets the result of that, and not what came before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from bgresults import AMQPOptions, TaskMeta
from bgresults.integrations.celery import CeleryResultWatcher
from tests.celery.conftest import FromCelery
from tests.celery.dropin_scene import DropIns
from tests.support import wait_until
from tests.support.results import new_id
from tests.support.rpc_workers import signature
from tests.support.workers import TaskWorker

pytestmark = pytest.mark.rabbitmq

WAIT = 20


@pytest.fixture
def apps() -> Iterator[DropIns]:
    made = DropIns()
    yield made
    made.close()


class TestSubmitted:
    @pytest.fixture
    def app(self, apps: DropIns, worker: TaskWorker) -> Celery:
        return apps.stock(worker)

    def test_after_a_value(self, watcher: CeleryResultWatcher) -> None:
        task_id = new_id()
        values = [watcher.submit("echo", (number,), task_id=task_id).result(WAIT) for number in range(3)]
        assert values == [0, 1, 2]
        assert watcher.watch(task_id).result(WAIT) == 2, "kept for those who ask later"

    def test_after_a_failure(self, watcher: CeleryResultWatcher) -> None:
        task_id = new_id()
        with pytest.raises(KeyError):
            watcher.submit("fail", ("KeyError", "k"), task_id=task_id).result(WAIT)
        assert watcher.submit("echo", ("mended",), task_id=task_id).result(WAIT) == "mended"

    def test_after_a_reply_that_nobody_has_asked_for(self, app: Celery, from_celery: FromCelery) -> None:
        watcher, task_id = from_celery(app), new_id()
        app.send_task("echo", ("first",), task_id=task_id, reply_to=watcher.declare_for(task_id))
        wait_until(lambda: watcher.stats().buffered == 1, "the reply")
        assert watcher.submit("echo", ("second",), task_id=task_id).result(WAIT) == "second"

    def test_routed_and_with_a_reply_to(self, app: Celery, from_celery: FromCelery) -> None:
        watcher, task_id = from_celery(app), new_id()
        assert watcher.submit("echo", ("first",), task_id=task_id).result(WAIT) == "first"
        with watcher.route_replies():
            app.send_task("echo", ("second",), task_id=task_id)
        assert watcher.watch(task_id).result(WAIT) == "second"
        app.send_task("echo", ("third",), task_id=task_id, reply_to=watcher.reply_to)
        assert watcher.watch(task_id).result(WAIT) == "third"

    def test_states_on_the_way(self, watcher: CeleryResultWatcher) -> None:
        task_id = new_id()
        for steps in (1, 2):
            seen: list[TaskMeta] = []
            future = watcher.submit("progress", (steps,), task_id=task_id, on_update=seen.append)
            assert future.result(WAIT) == steps
            assert [meta.status for meta in seen] == [*["PROGRESS"] * steps, "SUCCESS"]


class TestDropIn:
    @pytest.fixture(params=["process", "task"])
    def app(self, apps: DropIns, worker: TaskWorker, from_celery: FromCelery, request: pytest.FixtureRequest) -> Celery:
        app = apps(worker)
        from_celery(app, amqp=AMQPOptions(binding=request.param))
        return app

    def test_after_a_value(self, app: Celery) -> None:
        task_id = new_id()
        values = [app.send_task("echo", (number,), task_id=task_id).get(timeout=WAIT) for number in range(3)]
        assert values == [0, 1, 2]

    def test_after_a_failure(self, app: Celery) -> None:
        task_id = new_id()
        with pytest.raises(KeyError):
            app.send_task("fail", ("KeyError", "k"), task_id=task_id).get(timeout=WAIT)
        assert app.send_task("echo", ("mended",), task_id=task_id).get(timeout=WAIT) == "mended"

    def test_states_that_were_asked_for(self, app: Celery) -> None:
        task_id = new_id()
        first = app.send_task("echo", ("first",), task_id=task_id)
        wait_until(first.ready, "the first one")
        second = app.send_task("sleep", (1.0, "second"), task_id=task_id)
        assert second.state == "PENDING"
        wait_until(second.ready, "the second one")
        assert second.result == "second"
        assert first.result == "first"

    def test_tasks_that_travel_in_another_ones_message(self, app: Celery) -> None:
        ids = [new_id(), new_id()]
        for number in (1, 2):
            steps = [signature(app, "echo", number).set(task_id=ids[0]), signature(app, "add", 10).set(task_id=ids[1])]
            sent = (steps[0] | steps[1]).apply_async(task_id=ids[1])
            assert sent.id == ids[1]
            assert sent.get(timeout=WAIT) == 10 + number

    def test_retried_by_its_worker(self, app: Celery) -> None:
        task_id = new_id()
        assert app.send_task("retry_once", ("one",), task_id=task_id).get(timeout=WAIT) == "one"
        assert app.send_task("retry_once", ("two",), task_id=task_id).get(timeout=WAIT) == "two"
