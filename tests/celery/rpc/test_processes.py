"""Forked children and other processes, where results come as replies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain
from celery.signals import before_task_publish

from bgresults import AMQPOptions, ForkedError, NotWatchableError, ResultWatcher
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher
from tests.support import wait_until
from tests.support.children import run_in_children
from tests.support.forks import run_in_child
from tests.support.results import new_id, new_ids
from tests.support.rpc_workers import queue_exists, signature
from tests.support.tasks import adding_chain

pytestmark = pytest.mark.rabbitmq

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture(params=["process", "task"])
def watcher(app: Celery, from_celery: FromCelery, request: pytest.FixtureRequest) -> CeleryResultWatcher:
    """With each binding; connected."""
    made = from_celery(app, amqp=AMQPOptions(binding=request.param))
    assert made.wait_ready(WAIT)
    return made


def send_apart(app: Celery, watcher: CeleryResultWatcher, name: str, *args: Any, count: int) -> list[Any]:
    """Send tasks and watch them, over a connection of their own.

    Celery's pool of connections is inherited by a child as it is, and not for ``os.fork()`` to use in both processes.
    """
    futures = []
    with app.connection_for_write() as connection:
        for task_id in new_ids(count):
            app.send_task(name, args, task_id=task_id, reply_to=watcher.declare_for(task_id), connection=connection)
            futures.append(watcher.watch(task_id))
    return futures


def test_a_child_submits(app: Celery, watcher: CeleryResultWatcher, rabbitmq_url: str) -> None:
    futures = send_apart(app, watcher, "sleep_in_steps", 0.4, "parent", count=4)
    # Whatever the parent's tasks have come to by the time of the fork.
    pending = watcher.watch(new_id())
    queue = watcher.reply_to

    def child() -> None:
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        assert watcher.submit(adding_chain(app, 1, 2, 3)).result(WAIT) == 6
        if queue is not None:
            assert watcher.reply_to != queue
            assert queue_exists(rabbitmq_url, queue), "the parent's"
        with watcher.route_replies():
            assert watcher.watch(app.signature("add", (3, 4), app=app).delay()).result(WAIT) == 7
        assert isinstance(pending.exception(1), ForkedError)
        watcher.close()

    assert run_in_child(child) == 0
    assert [future.result(WAIT) for future in futures] == ["parent"] * 4
    assert watcher.submit("add", (5, 6)).result(WAIT) == 11
    assert watcher.reply_to == queue
    assert watcher.stats().reconnects == 0


def test_a_route_goes_on_in_a_child(app: Celery, watcher: CeleryResultWatcher) -> None:
    def child() -> None:
        assert watcher.watch(adding_chain(app, 1, 2, 3).delay()).result(WAIT) == 6
        watcher.close()

    with watcher.route_replies():
        assert run_in_child(child) == 0
        assert watcher.watch(app.signature("add", (3, 4), app=app).delay()).result(WAIT) == 7


def test_a_child_whose_first_task_is_waited_for_by_nobody(
    app: Celery, from_celery: FromCelery, rabbitmq_url: str
) -> None:
    """What it carries is. Its queue has to be there before it is sent, and not with the first watch()."""
    watcher = from_celery(app)
    first = signature(app, "add", 1, 2).set(ignore_result=True)
    steps = chain(first, signature(app, "add", 3), app=app)

    def child() -> None:
        queues: list[str] = []

        def look(body: Any = None, **_: Any) -> None:
            queues.extend(step["options"]["reply_to"] for step in body[2]["chain"])

        before_task_publish.connect(look)
        sent = steps.delay()
        assert [queue_exists(rabbitmq_url, queue) for queue in queues] == [True]
        assert watcher.watch(sent.id).result(WAIT) == 6
        watcher.close()

    with watcher.route_replies():
        assert run_in_child(child) == 0


def test_what_the_parent_sent_elsewhere(app: Celery, watcher: CeleryResultWatcher) -> None:
    with app.connection_for_write() as connection:
        sent = app.send_task("add", (1, 2), reply_to="elsewhere", connection=connection)

    def child() -> None:
        with pytest.raises(NotWatchableError):
            watcher.watch(sent)

    assert run_in_child(child) == 0


def test_a_fork_while_another_thread_publishes(app: Celery, watcher: CeleryResultWatcher) -> None:
    """Celery's signal has a lock, which is taken for a moment whenever somebody listens, as the watcher does."""
    held, release = threading.Event(), threading.Event()

    def publish() -> None:
        with before_task_publish.lock:
            held.set()
            release.wait(WAIT)

    def child() -> None:
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        watcher.close()

    publisher = threading.Thread(target=publish)
    publisher.start()
    assert held.wait(WAIT)
    try:
        assert run_in_child(child) == 0
    finally:
        release.set()
        publisher.join()
    assert watcher.submit("add", (1, 2)).result(WAIT) == 3


@pytest.mark.slow
def test_four_children_at_work(app: Celery, from_celery: FromCelery) -> None:
    """20 rounds of 10 waits each, beside a parent that waits too; nobody loses one."""
    watcher = from_celery(app)
    futures = send_apart(app, watcher, "sleep_in_steps", 0.01, "parent", count=200)

    def child() -> None:
        for number in range(20):
            sent = [watcher.submit("add", (number, step)) for step in range(10)]
            assert [future.result(WAIT) for future in sent] == [number + step for step in range(10)]
        watcher.close()

    assert run_in_children(4, child, fork=os.fork) == [0] * 4
    assert [future.result(WAIT) for future in futures] == ["parent"] * 200
    after = watcher.submit("add", (1, 2))
    assert isinstance(after, CeleryResultFuture)
    assert after.result(WAIT) == 3
    assert watcher.stats().reconnects == 0


def test_one_process_declares_and_another_watches(app: Celery, rabbitmq_url: str, from_celery: FromCelery) -> None:
    """binding="task": whoever knows the id can watch it."""
    task_id, other = new_id(), new_id()
    # Submitted, and let go of without watching on, would end its queue: it is declared instead.
    watcher = from_celery(app, amqp=AMQPOptions(binding="task"))
    for declared in (task_id, other):
        app.send_task("add", (1, 2), task_id=declared, reply_to=watcher.declare_for(declared))
    program = (
        "import sys\nfrom bgresults import ResultWatcher\n"
        "with ResultWatcher(sys.argv[1] + '?binding=task') as watcher:\n"
        "    print(watcher.watch(sys.argv[2]).result(20))\n"
    )
    command = [sys.executable, "-c", program, rabbitmq_url, task_id]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert ended.stdout == "3\n", ended.stderr
    assert watcher.watch(other).result(WAIT) == 3, "and so can the one that declared it"
    wait_until(lambda: not queue_exists(rabbitmq_url, task_id), "the end of its queue")


def test_two_processes_cannot_watch_one_task(rabbitmq_url: str, app: Celery, from_celery: FromCelery) -> None:
    """What one of them submitted, it watches itself: the other one is told, and the first one gets the result."""
    watcher = from_celery(app, amqp=AMQPOptions(binding="task"))
    future = watcher.submit("sleep_in_steps", (4.0, "slept"))
    assert isinstance(future, CeleryResultFuture)
    with ResultWatcher(f"{rabbitmq_url}?binding=task") as other:
        assert isinstance(other.watch(future.task_id).exception(WAIT), NotWatchableError)
    assert future.result(WAIT) == "slept"
