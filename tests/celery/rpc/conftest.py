"""Fixtures of the tests in which results come as replies: a real worker, and the application of a web process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from celery.signals import before_task_publish

from bgresults import AMQPOptions
from bgresults.integrations.celery import CeleryResultWatcher
from tests.support.rpc_workers import Published, WebApps, rpc_worker
from tests.support.workers import TaskWorker, WorkerPool

FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def worker(worker_for: WorkerPool, rabbitmq_url: str) -> TaskWorker:
    return rpc_worker(worker_for, rabbitmq_url)


@pytest.fixture
def apps() -> Iterator[WebApps]:
    made = WebApps()
    yield made
    made.close()


@pytest.fixture
def app(apps: WebApps, worker: TaskWorker) -> Celery:
    return apps(worker.settings)


@pytest.fixture(params=["process", "task"])
def watcher(app: Celery, from_celery: FromCelery, request: pytest.FixtureRequest) -> CeleryResultWatcher:
    """With each binding."""
    return from_celery(app, amqp=AMQPOptions(binding=request.param))


@pytest.fixture
def published() -> Iterator[Published]:
    """What this process sends."""
    seen = Published()
    before_task_publish.connect(seen.record, weak=False)
    yield seen
    before_task_publish.disconnect(seen.record)
