"""submit() while the broker cannot be used: nobody would hear of the result, so the task is not sent either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from celery import Celery, group
from kombu.exceptions import OperationalError

from bgresults import AMQPOptions, BackendUnavailableError, ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.integrations.celery import CeleryResultWatcher, GroupFutures, install
from bgresults.options import Binding
from bgresults.testing import FaultProxy
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.results import new_id
from tests.support.rpc_workers import (
    Published,
    WebApps,
    delete_queue,
    queue_exists,
    rpc_settings,
    signature,
)
from tests.support.workers import TaskWorker

pytestmark = pytest.mark.rabbitmq

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def away(apps: WebApps) -> Celery:
    """No broker there."""
    settings = rpc_settings(f"amqp://127.0.0.1:{CLOSED_PORT}//", broker_connection_timeout=0.3)
    return apps(settings, task_publish_retry=False)


@pytest.mark.parametrize("binding", ["process", "task"])
def test_a_broker_that_cannot_be_reached(
    away: Celery, from_celery: FromCelery, published: Published, binding: Binding
) -> None:
    watcher = from_celery(away, amqp=AMQPOptions(binding=binding))
    future = watcher.submit("add", (1, 2))
    assert isinstance(future.exception(0), BackendUnavailableError)
    both = watcher.submit(group(signature(away, "add", 1, 2), signature(away, "add", 3, 4), app=away))
    assert isinstance(both, GroupFutures)
    assert [type(member.exception(0)) for member in both] == [BackendUnavailableError] * 2
    assert isinstance(both.exception(0), BackendUnavailableError)
    assert watcher.pending == 0
    assert not published.reply_to


def test_a_broker_that_was_given_up(away: Celery, from_celery: FromCelery, published: Published) -> None:
    watcher = from_celery(away, retry=RetryPolicy(give_up_after=0.1))
    assert isinstance(watcher.watch(new_id()).exception(WAIT), BackendUnavailableError)
    assert isinstance(watcher.submit("add", (1, 2)).exception(0), BackendUnavailableError)
    assert not published.reply_to


def test_a_broker_that_takes_no_password(
    rabbitmq_url: str, apps: WebApps, from_celery: FromCelery, published: Published
) -> None:
    scheme, _, place = rabbitmq_url.rpartition("@")
    app = apps(rpc_settings(f"{scheme.partition('://')[0]}://nobody:wrong@{place}"))
    watcher = from_celery(app, connect_timeout=WAIT)
    error = watcher.submit("add", (1, 2)).exception(WAIT)
    assert isinstance(error, BackendUnavailableError)
    assert "check the user name" in str(error)
    assert "wrong" not in str(error)
    assert not published.reply_to


def test_what_delay_raises_with_the_drop_in(away: Celery, published: Published) -> None:
    """As without it: call sites stay as they are, and so do their except clauses."""
    install(away)
    with ResultWatcher.from_celery(away), pytest.raises(OperationalError, match="reply queue") as raised:
        away.tasks["add"].delay(1, 2)
    assert isinstance(raised.value.__cause__, BackendUnavailableError)
    assert not published.reply_to


def test_a_closed_watcher(app: Celery, from_celery: FromCelery, published: Published) -> None:
    watcher = from_celery(app)
    assert watcher.submit("add", (1, 2)).result(WAIT) == 3
    published.reply_to.clear()
    watcher.close()
    with pytest.raises(WatcherClosedError):
        watcher.submit("add", (1, 2))
    assert not published.reply_to


def test_what_cannot_be_sent_leaves_no_queue(app: Celery, from_celery: FromCelery, rabbitmq_url: str) -> None:
    watcher = from_celery(app, amqp=AMQPOptions(binding="task"))
    ids = [new_id() for _ in range(120)]
    members = [signature(app, "echo", object()).set(task_id=task_id) for task_id in ids]
    futures = watcher.submit(group(members, app=app))
    assert futures.exception(0) is not None
    assert watcher.pending == 0

    def gone() -> bool:
        return not queue_exists(rabbitmq_url, ids[0]) and not queue_exists(rabbitmq_url, ids[-1])

    try:
        wait_until(gone, "the end of the queues that were declared")
    finally:
        delete_queue(rabbitmq_url, *ids)


class TestThatGoesAwayLater:
    @pytest.fixture
    def proxy(self, rabbitmq_url: str) -> Iterator[FaultProxy]:
        parts = urlsplit(rabbitmq_url)
        with FaultProxy(parts.port or 5672, host=parts.hostname or "127.0.0.1") as made:
            yield made

    @pytest.fixture
    def behind(self, proxy: FaultProxy, worker: TaskWorker, rabbitmq_url: str, apps: WebApps) -> Celery:
        parts = urlsplit(rabbitmq_url)
        url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}").geturl()
        return apps(worker.settings, broker_url=url, task_publish_retry=False, broker_connection_timeout=1)

    def test_failing_fast(
        self, behind: Celery, proxy: FaultProxy, from_celery: FromCelery, published: Published
    ) -> None:
        watcher = from_celery(behind, on_disconnect="fail", retry=RetryPolicy(initial=0.01, maximum=0.05))
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        queue = watcher.reply_to
        published.reply_to.clear()
        proxy.refuse()
        proxy.reset()
        # A moment after it has been noticed.
        wait_until(lambda: watcher._session.refusal is not None, "what comes to be refused")
        assert isinstance(watcher.submit("add", (1, 2)).exception(0), BackendUnavailableError)
        assert not published.reply_to
        proxy.accept()
        wait_until(lambda: watcher.connected, "the connection", WAIT)
        assert watcher.reply_to == queue

    @pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    )  # kombu 5.3 closes no connection that was cut
    def test_waiting(self, behind: Celery, proxy: FaultProxy, from_celery: FromCelery) -> None:
        """Where replies go is known, and they can wait there: whether it can be sent is for Celery to say."""
        watcher = from_celery(behind, retry=RetryPolicy(initial=0.01, maximum=0.05))
        slow = watcher.submit("sleep_in_steps", (3.0, "slept"))
        proxy.refuse()
        proxy.reset()
        wait_until(lambda: not watcher.connected, "the outage to be noticed")
        assert isinstance(watcher.submit("add", (1, 2)).exception(0), OperationalError)
        assert watcher.pending == 1
        proxy.accept()
        assert slow.result(WAIT) == "slept"
        # Who is told while it catches up may be faster.
        wait_until(lambda: watcher.stats().reconnects == 1, "the reconnect to be counted")
        assert watcher.submit("add", (3, 4)).result(WAIT) == 7
