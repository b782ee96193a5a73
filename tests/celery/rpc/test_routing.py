"""route_replies(): what it routes, and what is as before when it is undone."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.backends.rpc import RPCBackend
from celery.signals import before_task_publish

from bgresults import BackendUnavailableError, NotWatchableError, WatcherClosedError, WouldDeadlockError
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id
from tests.support.rpc_workers import WebApps, delete_queue, queue_exists, rpc_settings, signature
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]

with_rabbitmq = pytest.mark.rabbitmq


@with_rabbitmq
class TestEverything:
    def test_all_ways_to_send(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        add = app.tasks["add"]
        with watcher.route_replies():
            sent = [
                add.delay(1, 2),
                add.apply_async((3, 4)),
                app.send_task("add", (5, 6)),
                signature(app, "add", 7, 8).delay(),
                adding_chain(app, 1, 2, 3).apply_async(),
                chain(signature(app, "add", 1, 2), group(signature(app, "add", 3), app=app), app=app).apply_async(),
            ]
            groups = group(signature(app, "add", 1, 2), adding_chain(app, 1, 2, 3), app=app).apply_async()
            assert [watcher.watch(result).result(WAIT) for result in sent[:5]] == [3, 7, 11, 15, 6]
            assert watcher.watch(sent[5].results[0] if hasattr(sent[5], "results") else sent[5]).result(WAIT) == 6
            assert watcher.watch_group(groups).result(WAIT) == [3, 6]
            assert watcher.watch(sent[4].id).result(WAIT) == 6, "by its id alone, which no message was sent under"
        assert not queue_exists(rabbitmq_url, app.thread_oid), "Celery's own"
        assert app.backend.result_consumer._connection is None, "Celery listens to nothing"

    def test_in_any_thread(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        own: set[str] = set()

        def work(number: int) -> list[Any]:
            own.add(app.thread_oid)
            single = signature(app, "add", number, 1).delay()
            steps = adding_chain(app, number, 1, 1).delay()
            both = group(signature(app, "add", number, 3), signature(app, "add", number, 4), app=app).delay()
            return [
                watcher.watch(single).result(WAIT),
                watcher.watch(steps).result(WAIT),
                *(future.result(WAIT) for future in watcher.watch_group(both)),
            ]

        with watcher.route_replies():
            outcomes = in_threads(8, work, timeout=50)
        assert outcomes == [[number + 1, number + 2, number + 3, number + 4] for number in range(8)]
        assert not [name for name in own if queue_exists(rabbitmq_url, name)]

    def test_after_a_submit_in_the_same_thread(
        self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str
    ) -> None:
        """submit() puts something over this thread's backend object."""
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        with watcher.route_replies():
            assert watcher.watch(signature(app, "add", 3, 4).delay()).result(WAIT) == 7
        assert not queue_exists(rabbitmq_url, app.thread_oid)
        assert signature(app, "add", 5, 6).delay().get(timeout=WAIT) == 11

    def test_protocol_1(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        app.conf.task_protocol = 1
        with watcher.route_replies():
            assert watcher.watch(adding_chain(app, 1, 2, 3).delay()).result(WAIT) == 6

    def test_signatures_stay_as_they_are(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        single, steps = signature(app, "add", 1, 2), adding_chain(app, 1, 2, 3)
        linked = signature(app, "echo")
        link_id = linked.freeze().id
        with_link = signature(app, "add", 1, 2).on_error(linked.clone())
        before = [repr(single), repr(steps), dict(single.options), [dict(step.options) for step in steps.tasks]]
        link_before = repr(with_link.options)
        with watcher.route_replies():
            for sent in (single.delay(), steps.delay(), with_link.delay()):
                assert watcher.watch(sent).result(WAIT) in (3, 6)
        assert [repr(single), repr(steps), dict(single.options), [dict(s.options) for s in steps.tasks]] == before
        assert repr(with_link.options) == link_before
        delete_queue(rabbitmq_url, link_id)
        assert single.delay().get(timeout=WAIT) == 3

    def test_a_task_that_a_receiver_sends_meanwhile(
        self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str
    ) -> None:
        """For an audit log, say. The receiver was there before ours, so it is called first."""
        logged: list[Any] = []

        def audit(sender: str, **_: Any) -> None:
            if sender == "add":
                logged.append(app.tasks["echo"].delay("logged"))

        before_task_publish.connect(audit)
        try:
            with watcher.route_replies():
                sent = [app.tasks["add"].delay(number, 1) for number in range(3)]
                assert [watcher.watch(result).result(WAIT) for result in sent] == [1, 2, 3]
                assert [watcher.watch(result).result(WAIT) for result in logged] == ["logged"] * 3
                assert watcher.submit("add", (3, 1)).result(WAIT) == 4
        finally:
            before_task_publish.disconnect(audit)
        assert not queue_exists(rabbitmq_url, app.thread_oid), "Celery's own"

    def test_a_task_that_is_ignored(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        """Nothing comes, so nothing is made ready for it."""
        task_id = new_id()
        with watcher.route_replies():
            app.send_task("nothing", task_id=task_id, ignore_result=True)
        assert not queue_exists(rabbitmq_url, task_id)
        with pytest.raises(NotWatchableError):
            watcher.watch(task_id)

    def test_a_reply_to_of_ones_own(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        with watcher.route_replies():
            sent = app.send_task("add", (1, 2), reply_to="elsewhere")
            with pytest.raises(NotWatchableError, match="elsewhere"):
                watcher.watch(sent)
        delete_queue(rabbitmq_url, sent.id)

    def test_in_a_callback(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """On the thread that alone can declare a queue: with one for each task, delay() says so and sends nothing."""
        outcomes: list[Any] = []
        here = threading.current_thread()
        called: queue.SimpleQueue[bool] = queue.SimpleQueue()

        def send(_: Any) -> None:
            # One that ended before it had its callback calls it in our own thread, which may declare.
            elsewhere = threading.current_thread() is not here
            try:
                if elsewhere:
                    outcomes.append(signature(app, "add", 3, 4).delay())
            except WouldDeadlockError as error:
                outcomes.append(error)
            called.put(elsewhere)

        with watcher.route_replies():
            on_the_thread = False
            while not on_the_thread:
                future = watcher.watch(signature(app, "sleep", 0.3).delay())
                future.add_done_callback(send)
                on_the_thread = called.get(timeout=WAIT)
        if watcher._settings.binding == "task":
            assert isinstance(outcomes[0], WouldDeadlockError)
        else:
            assert watcher.watch(outcomes[0]).result(WAIT) == 7


@with_rabbitmq
class TestUndone:
    def test_get_works_again(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        before = signature(app, "add", 9, 9).delay(), group(signature(app, "add", 8, 8), app=app).delay()
        route = watcher.route_replies()
        assert watcher.watch(signature(app, "add", 1, 2).delay()).result(WAIT) == 3
        assert [result.get(timeout=WAIT) for result in before] == [18, [16]]
        route.undo()
        route.undo()
        sent = signature(app, "add", 3, 4).delay()
        assert sent.get(timeout=WAIT) == 7
        assert group(signature(app, "add", 3, 4), app=app).delay().get(timeout=WAIT) == [7]
        with pytest.raises(NotWatchableError):
            watcher.watch(sent)

    def test_nested(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        outer, inner = watcher.route_replies(), watcher.route_replies()
        # In the order in which they were made.
        outer.undo()
        outer.undo()
        assert watcher.watch(signature(app, "add", 1, 2).delay()).result(WAIT) == 3
        inner.undo()
        assert signature(app, "add", 3, 4).delay().get(timeout=WAIT) == 7
        with watcher.route_replies():
            with watcher.route_replies():
                pass
            assert watcher.watch(signature(app, "add", 5, 6).delay()).result(WAIT) == 11

    def test_two_applications(self, apps: WebApps, worker: TaskWorker, from_celery: FromCelery) -> None:
        """What one of them routes is nothing to the other, and each is undone by itself."""
        one, two = apps(worker.settings), apps(worker.settings)
        first, second = from_celery(one), from_celery(two)
        routes = first.route_replies(), second.route_replies()
        sent = signature(one, "add", 1, 2).delay(), signature(two, "add", 3, 4).delay()
        with pytest.raises(NotWatchableError):
            second.watch(sent[0])
        assert (first.watch(sent[0]).result(WAIT), second.watch(sent[1]).result(WAIT)) == (3, 7)
        routes[0].undo()
        assert second.watch(signature(two, "add", 5, 6).delay()).result(WAIT) == 11
        assert signature(one, "add", 7, 8).delay().get(timeout=WAIT) == 15
        routes[1].undo()
        assert signature(two, "add", 9, 1).delay().get(timeout=WAIT) == 10

    def test_by_closing_the_watcher(self, app: Celery, watcher: CeleryResultWatcher, from_celery: FromCelery) -> None:
        route = watcher.route_replies()
        watcher.close()
        assert signature(app, "add", 1, 2).delay().get(timeout=WAIT) == 3
        other = from_celery(app)
        with other.route_replies():
            route.undo()
            assert other.watch(signature(app, "add", 3, 4).delay()).result(WAIT) == 7
        assert signature(app, "add", 5, 6).delay().get(timeout=WAIT) == 11

    def test_something_that_was_put_on_top(
        self, app: Celery, watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with watcher.route_replies():
            seen: list[str] = []
            below = RPCBackend.on_task_call

            def on_top(self: Any, producer: Any, task_id: str) -> Any:
                seen.append(task_id)
                return below(self, producer, task_id)

            monkeypatch.setattr(RPCBackend, "on_task_call", on_top)
            sent = signature(app, "add", 1, 2).delay()
            assert watcher.watch(sent).result(WAIT) == 3
        assert signature(app, "add", 3, 4).delay().get(timeout=WAIT) == 7
        assert len(seen) == 2

    def test_dropped_with_its_application(self, worker: TaskWorker, rabbitmq_url: str) -> None:
        apps = WebApps()
        app = apps(worker.settings)
        from bgresults import ResultWatcher

        watcher = ResultWatcher.from_celery(app)
        route = watcher.route_replies()
        assert watcher.watch(signature(app, "add", 1, 2).delay()).result(WAIT) == 3
        seen = weakref.ref(watcher)
        apps.close()
        del app, watcher, route
        gc.collect()
        assert seen() is None

        def ended() -> bool:
            return not [thread for thread in threading.enumerate() if thread.name.startswith("bgresults")]

        wait_until(ended, "the end of the thread")


class TestSettledAtTheCall:
    def test_no_broker(self, apps: WebApps, from_celery: FromCelery, rabbitmq_url: str) -> None:
        settings = rpc_settings(f"amqp://127.0.0.1:{CLOSED_PORT}//", broker_connection_timeout=0.3)
        watcher = from_celery(apps(settings))
        with pytest.raises(BackendUnavailableError, match=r"within 0\.3 s"):
            watcher.route_replies()
        assert not watcher._router.routes_everything

    def test_a_closed_watcher(self, apps: WebApps, from_celery: FromCelery) -> None:
        watcher = from_celery(apps(rpc_settings("memory://")))
        watcher.close()
        with pytest.raises(WatcherClosedError):
            watcher.route_replies()

    def test_results_in_redis(self, redis_server: RedisServer, apps: WebApps, from_celery: FromCelery) -> None:
        """Nothing to do, and nothing done."""
        app = apps({"result_backend": redis_server.url(), "broker_url": "memory://"})
        watcher = from_celery(app)
        with watcher.route_replies() as route:
            future = watcher.submit("add", (1, 2))
            route.undo()
        writer = ResultWriter(redis_server)
        for task_id in watcher._session.pending.ids():
            writer.write(task_id, 3)
        writer.close()
        assert future.result(WAIT) == 3
        # A result that was stored before the subscription is found while it catches up.
        wait_until(lambda: watcher.stats().state == "draining", "the connection")

    @with_rabbitmq
    def test_when_the_queue_cannot_be_had_any_more(
        self, app: Celery, watcher: CeleryResultWatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        """delay() raises, instead of sending a task whose reply is lost."""
        with watcher.route_replies():
            watcher._session.end(lambda: BackendUnavailableError("gone"))
            wait_until(lambda: watcher.stats().state == "closed", "the end of the thread")
            with pytest.raises(BackendUnavailableError, match="gone"):
                signature(app, "add", 1, 2).delay()
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
