"""submit() where results come as replies: who replies to what, with both bindings, on a real broker."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

from bgresults import (
    NotWatchableError,
    WatchExpiredError,
)
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher, GroupFutures
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id
from tests.support.rpc_workers import Published, queue_exists, signature
from tests.support.tasks import adding_chain
from tests.support.threads import in_threads
from tests.support.workers import TaskWorker

pytestmark = pytest.mark.rabbitmq

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]


def one(future: CeleryResultFuture | GroupFutures) -> CeleryResultFuture:
    assert isinstance(future, CeleryResultFuture)
    return future


class TestTasks:
    def test_values_failures_and_retries(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        states: list[str] = []
        retried = watcher.submit("retry_once", ("late",), on_update=lambda meta: states.append(meta.status))
        futures = [watcher.submit("add", (number, 1)) for number in range(5)]
        failing = watcher.submit("fail", ("KeyError", "k"))
        assert [future.result(WAIT) for future in futures] == [1, 2, 3, 4, 5]
        with pytest.raises(KeyError):
            failing.result(WAIT)
        assert retried.result(WAIT) == "late"
        # The worker sends the task anew before it says so; another of its processes may be faster.
        assert states in (["RETRY", "SUCCESS"], ["SUCCESS"])
        assert not queue_exists(rabbitmq_url, app.thread_oid), "Celery's own"
        for future in (retried, failing, *futures):
            wait_until(lambda future=future: not queue_exists(rabbitmq_url, one(future).task_id), "no queue left")  # type: ignore[misc]

    def test_progress(self, watcher: CeleryResultWatcher) -> None:
        """Every state, in order: replies are not overwritten."""
        seen: list[Any] = []
        future = watcher.submit("progress", (3,), on_update=lambda meta: seen.append((meta.status, meta.result)))
        assert future.result(WAIT) == 3
        assert seen == [*(("PROGRESS", {"done": done, "of": 3}) for done in (1, 2, 3)), ("SUCCESS", 3)]

    def test_from_sixteen_threads(self, watcher: CeleryResultWatcher, app: Celery, rabbitmq_url: str) -> None:
        own: set[str] = set()

        def work(number: int) -> list[Any]:
            own.add(app.thread_oid)
            futures = [watcher.submit("add", (number, step)) for step in range(10)]
            order = list(enumerate(futures))
            random.Random(number).shuffle(order)
            values = {step: future.result(WAIT) for step, future in order}
            return [values[step] for step in range(10)]

        assert in_threads(16, work, timeout=50) == [[number + step for step in range(10)] for number in range(16)]
        # Counted a moment after whoever waits for it is told.
        wait_until(lambda: watcher.stats().resolved == 160, "the last one to be counted")
        assert not [name for name in own if queue_exists(rabbitmq_url, name)]

    def test_a_second_watch(self, watcher: CeleryResultWatcher) -> None:
        future = one(watcher.submit("add", (1, 2)))
        assert future.result(WAIT) == 3
        assert watcher.watch(future.task_id).result(WAIT) == 3

    def test_an_id_that_went_elsewhere_before(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        task_id = new_id()
        assert watcher.wait_ready(WAIT)
        app.send_task("add", (1, 2), task_id=task_id, reply_to="nowhere")
        with pytest.raises(NotWatchableError, match="nowhere"):
            watcher.watch(task_id)
        assert watcher.submit("add", (3, 4), task_id=task_id).result(WAIT) == 7

    def test_a_reply_to_of_ones_own(self, watcher: CeleryResultWatcher) -> None:
        with pytest.raises(ValueError, match="reply_to"):
            watcher.submit("add", (1, 2), reply_to="elsewhere")
        assert watcher.pending == 0

    def test_a_signature_that_another_thread_froze(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """That thread's reply queue is written into it."""
        frozen = signature(app, "add", 1, 2)
        in_threads(1, lambda _: frozen.freeze())
        before = dict(frozen.options)
        assert watcher.submit(frozen).result(WAIT) == 3
        assert frozen.options == before


class TestCanvases:
    def test_chains(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        assert watcher.submit(adding_chain(app, 1, 2, 3, 4)).result(WAIT) == 10
        again = adding_chain(app, 1, 2, 3)
        before = repr(again), [dict(step.options) for step in again.tasks]
        assert [watcher.submit(again).result(WAIT) for _ in range(2)] == [6, 6]
        assert (repr(again), [dict(step.options) for step in again.tasks]) == before

    def test_a_chain_that_fails_in_the_middle(
        self, app: Celery, watcher: CeleryResultWatcher, published: Published, rabbitmq_url: str
    ) -> None:
        steps = [new_id(), new_id()]
        adds = signature(app, "add", 1, 2).set(task_id=steps[0])
        fails = app.signature("fail", ("KeyError", "k"), immutable=True, app=app).set(task_id=steps[1])
        future = one(watcher.submit(chain(adds, fails, signature(app, "add", 4), app=app)))
        assert steps[0] in published.reply_to, "the ids that were given"
        with pytest.raises(KeyError):
            future.result(WAIT)
        del future
        for task_id in steps:
            wait_until(lambda task_id=task_id: not queue_exists(rabbitmq_url, task_id), "no queue left")  # type: ignore[misc]

    def test_a_chain_in_any_thread(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        assert in_threads(8, lambda number: watcher.submit(adding_chain(app, number, 2, 3)).result(WAIT)) == [
            number + 5 for number in range(8)
        ]

    def test_protocol_1(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """Chains are links there."""
        app.conf.task_protocol = 1
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        assert watcher.submit(adding_chain(app, 1, 2, 3)).result(WAIT) == 6

    def test_groups(self, app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
        add, echo = signature(app, "add", 1, 2), signature(app, "echo", "x")
        nested = group(add, group(echo, add.clone(), app=app), app=app)
        assert watcher.submit(nested).result(WAIT) == [3, "x", 3]
        assert watcher.submit(group(adding_chain(app, 1, 2, 3), echo, app=app)).result(WAIT) == [6, "x"]
        assert watcher.submit(group([], app=app)).result(WAIT) == []
        assert not queue_exists(rabbitmq_url, app.thread_oid), "Celery listens to each member, by itself"

    def test_a_chain_that_ends_in_a_group(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        one_more = signature(app, "add", 1)
        behind = group(one_more, chain(one_more.clone(), one_more.clone(), app=app), app=app)
        assert watcher.submit(chain(signature(app, "add", 1, 2), behind, app=app)).result(WAIT) == [4, 5]

    def test_groups_that_were_sent_or_saved_elsewhere(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        with watcher.route_replies():
            sent = group(signature(app, "add", 1, 2), signature(app, "add", 3, 4), app=app).apply_async()
        assert watcher.watch_group(sent).result(WAIT) == [3, 7]
        with pytest.raises(NotWatchableError, match="saves no groups"):
            watcher.watch_group(sent.id)

    @pytest.mark.parametrize("shape", ["chord", "in a chain", "in a group", "as it travels"])
    def test_chords(self, app: Celery, watcher: CeleryResultWatcher, published: Published, shape: str) -> None:
        both = group(signature(app, "echo", 1), signature(app, "echo", 2), app=app)
        sums = chord(both, signature(app, "echo"), app=app)
        canvas: Any = {
            "chord": sums,
            "in a chain": chain(signature(app, "echo", 1), both, signature(app, "echo"), app=app),
            "in a group": group(signature(app, "echo", 1), sums, app=app),
            "as it travels": dict(sums),
        }[shape]
        with pytest.raises(ValueError, match="no chords"):
            watcher.submit(canvas)
        assert watcher.pending == 0
        assert not published.reply_to


class TestWhatElseSubmitDoes:
    def test_revoked(self, watcher: CeleryResultWatcher) -> None:
        future = one(watcher.submit("echo", ("late",), countdown=3))
        future.revoke()
        with pytest.raises(TaskRevokedError):
            future.result(WAIT)

    def test_revoked_on_timeout(self, watcher: CeleryResultWatcher) -> None:
        revoked: list[Any] = []
        task_id = new_id()
        # First: with a queue for each task, there would be none any more if that one had expired before.
        again = watcher.watch(task_id, on_update=lambda meta: revoked.append(meta.status))
        future = watcher.submit("echo", ("late",), task_id=task_id, countdown=3, lifetime=0.3, revoke_on_timeout=True)
        assert isinstance(future.exception(WAIT), WatchExpiredError)
        assert isinstance(again.exception(WAIT), TaskRevokedError)
        assert revoked == ["REVOKED"]
        wait_until(
            lambda: "bgresults-revoker" not in {thread.name for thread in threading.enumerate()},
            "the end of the thread that revokes",
        )

    def test_expiry_tied_to_the_watch(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        """The worker finds that nobody waits any more."""
        task_id = new_id()
        # First, as above.
        again = watcher.watch(task_id)
        future = watcher.submit("echo", (1,), task_id=task_id, countdown=1.5, lifetime=1.0, expires="watch")
        assert isinstance(future.exception(WAIT), WatchExpiredError)
        assert isinstance(again.exception(WAIT), TaskRevokedError)

    def test_eagerly(self, app: Celery, watcher: CeleryResultWatcher) -> None:
        app.conf.task_always_eager = True

        @app.task(name="here", shared=False)
        def here(number: int) -> int:
            return number + 1

        assert watcher.submit(here, (1,)).result(0) == 2
        assert watcher.submit(chain(here.s(1), here.s(), app=app)).result(0) == 3
        assert watcher.stats().state == "idle"

    def test_on_commit(self, rabbitmq_url: str, worker: TaskWorker) -> None:
        """In a process of its own: Django can be configured once."""
        pytest.importorskip("django", reason="Django is not installed: pip install Django")
        ended = subprocess.run(
            [sys.executable, "-c", _ON_COMMIT, repr(worker.settings)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert ended.stdout == "3 True\n", ended.stderr


_ON_COMMIT = """
import gc, sys
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import transaction
from bgresults import ResultWatcher
from tests.support import wait_until
from tests.support.tasks import make_app
with ResultWatcher.from_celery(make_app(eval(sys.argv[1]))) as watcher:
    with transaction.atomic():
        future = watcher.submit_on_commit("add", (1, 2))
        assert not future.done()
    value = future.result(20)
    with transaction.atomic():
        future = watcher.submit_on_commit("add", (1, 2))
        transaction.set_rollback(True)
    gc.collect()
    wait_until(future.cancelled, "the end of what was not sent")
    print(value, future.cancelled())
"""


def test_replies_that_nobody_watches_yet(app: Celery, from_celery: FromCelery, rabbitmq_url: str) -> None:
    """Sent with the watcher's queue, watched late."""
    watcher = from_celery(app)
    sent = app.send_task("add", (1, 2), reply_to=watcher.reply_to)
    wait_until(lambda: watcher.stats().buffered == 1, "the reply")
    assert watcher.watch(sent).result(WAIT) == 3
    writer = ReplyWriter(rabbitmq_url)
    task_id = new_id()
    assert watcher.reply_to is not None
    writer.write(watcher.reply_to, task_id, 5)
    assert watcher.watch(task_id).result(WAIT) == 5
    writer.close()
