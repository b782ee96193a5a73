"""Real workers, one for each combination of settings, kept for the whole test session."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kombu.pools
from celery import Celery

from bgresults.testing.workers import CeleryWorker
from tests.support.tasks import ENVIRONMENT_VARIABLE, make_app

__all__ = ["TaskWorker", "WorkerPool", "close_app"]

_ROOT = Path(__file__).resolve().parents[2]
# Their places are the databases that brokers use.
_SERIALIZERS = ("json", "pickle", "msgpack", "yaml")


class TaskWorker:
    """A running worker together with the means to send tasks to it.

    Attributes:
        settings: the Celery settings of the worker.
        process: the worker process; tests that end it must restart it, it is shared.
    """

    def __init__(self, settings: dict[str, Any], concurrency: int, python: Path | None = None) -> None:
        self.settings = settings
        self.process = CeleryWorker(
            "tests.support.tasks",
            concurrency=concurrency,
            python_path=[_ROOT],
            env={
                ENVIRONMENT_VARIABLE: json.dumps(settings),
                # Where the tests run as root, a worker that accepts pickle refuses to start without this.
                "C_FORCE_ROOT": "1",
            },
            args=["-Q", settings["task_default_queue"]],
            python=python,
        )
        self._sender: Celery | None = None
        self._apps: list[Celery] = []

    @property
    def sender(self) -> Celery:
        """An application that only sends, for this test.

        It has no result backend: with one, Celery would subscribe to every result that it sends a task for.
        """
        if self._sender is None:
            self._sender = make_app({**self.settings, "result_backend": "disabled://", "result_compression": None})
        return self._sender

    @property
    def result_url(self) -> str:
        """Where the worker writes its results."""
        return str(self.settings["result_backend"])

    def send(self, name: str, *args: Any, task_id: str | None = None, **options: Any) -> str:
        """Send a task and return its id; options are those of ``send_task``, ``kwargs=`` and ``reply_to=`` too."""
        task_id = task_id or str(uuid.uuid4())
        self.sender.send_task(name, args, task_id=task_id, **options)
        return task_id

    def make_app(self, **settings: Any) -> Celery:
        """A new application as a web process has it, with the worker's backend; closed at the end of the test."""
        application = make_app({**self.settings, **settings})
        self._apps.append(application)
        return application

    def drop_apps(self) -> None:
        """Close the applications of one test; the connections to the broker are :mod:`kombu.pools`'s."""
        for application in self._apps:
            close_app(application)
        self._apps.clear()
        self._sender = None

    def __repr__(self) -> str:
        return f"<TaskWorker {self.settings}>"


class WorkerPool:
    """Starts workers on demand and keeps them."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._workers: dict[str, TaskWorker] = {}

    def __call__(
        self,
        *,
        serializer: str = "json",
        compression: str | None = None,
        concurrency: int = 2,
        python: Path | None = None,
        **settings: Any,
    ) -> TaskWorker:
        """The worker with these settings, started (2-3 s) if it is the first time that somebody asks.

        Args:
            serializer: of the results; tasks travel as JSON.
            compression: of the results, such as ``"gzip"`` (Celery 5.7).
            concurrency: processes in its pool.
            python: the interpreter of an environment with another Celery.
            settings: more Celery settings, ``broker_url`` and ``result_backend`` among them.
        """
        # A revoke is told to all workers of a broker, and each of them stores the state in its own serializer.
        broker_url = f"{self._redis_url.rpartition('/')[0]}/{_SERIALIZERS.index(serializer)}"
        complete: dict[str, Any] = {
            "broker_url": broker_url,
            "result_backend": self._redis_url,
            "accept_content": ["json"],
            "result_serializer": serializer,
            "result_accept_content": sorted({"json", serializer}),
            "broker_connection_retry_on_startup": True,
            "worker_prefetch_multiplier": 4,
            "worker_hijack_root_logger": False,
            **settings,
        }
        if compression is not None:
            complete["result_compression"] = compression
        key = json.dumps([complete, concurrency, str(python)], sort_keys=True)
        worker = self._workers.get(key)
        if worker is None:
            # A queue for each worker, or they would take each other's tasks.
            complete.setdefault("task_default_queue", f"bgresults-tests-{uuid.uuid4().hex[:12]}")
            worker = self._workers[key] = TaskWorker(complete, concurrency, python)
        worker.process.start()
        return worker

    def disconnect(self) -> None:
        """Close all connections of this process to brokers and backends."""
        for worker in self._workers.values():
            worker.drop_apps()
        # Closes every pooled connection of this process; kombu does not type this function.
        reset_pools: Callable[[], None] = kombu.pools.reset
        reset_pools()

    def close(self) -> None:
        """End all workers."""
        self.disconnect()
        # Each takes a second to end; together they take two.
        with ThreadPoolExecutor(max_workers=8) as threads:
            list(threads.map(lambda worker: worker.process.close(), self._workers.values()))
        self._workers.clear()


def close_app(application: Celery) -> None:
    """Close what an application holds in this thread, all but the connections of :mod:`kombu.pools`."""
    _close_backend(application)
    pool = application.amqp._producer_pool  # Unlike .producer_pool, this does not make one.
    if pool is not None:
        # The pattern that the pool's connections are made after; asked for its features, it has opened a poller.
        pool.connections.connection.release()
    application.close()


def _close_backend(application: Celery) -> None:
    """Close what the application's backend holds in this thread."""
    backend = application._backend  # Unlike .backend, this does not make one.
    consumer = getattr(backend, "result_consumer", None)
    # The one of the rpc backend has no connection before it is used.
    if consumer is not None and getattr(consumer, "_connection", consumer) is not None:
        consumer.stop()
        if hasattr(consumer, "_pubsub"):
            # A result that is dropped later, by the garbage collector perhaps, unsubscribes; for that, the consumer of
            # Redis would open its connection again, which nobody closes.
            consumer._pubsub = None
    client = vars(backend).get("client") if backend is not None else None
    if client is not None:
        client.connection_pool.disconnect()
