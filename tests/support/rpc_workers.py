"""Real workers that reply through RabbitMQ, and what a test asks the broker."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu.pools
from amqp.exceptions import AMQPError, NotFound
from celery import Celery
from kombu.connection import Connection

from tests.support.tasks import make_app
from tests.support.workers import TaskWorker, WorkerPool, close_app

__all__ = [
    "Published",
    "WebApps",
    "delete_queue",
    "make_queue",
    "queue_exists",
    "queue_length",
    "rpc_settings",
    "rpc_worker",
    "signature",
]

# kombu has no types of its own.
_Connection: Any = Connection

_SESSION = uuid.uuid4().hex[:12]
# Celery's own reply queues live that long after their process; so do watches that nobody ends.
_EXPIRES = 90


def rpc_settings(url: str, **settings: Any) -> dict[str, Any]:
    """Of an application whose tasks and results go through the broker at ``url``.

    The queue for its tasks is named after the settings, and goes with its last consumer.
    """
    digest = hashlib.sha256(json.dumps([url, os.getpid(), settings], sort_keys=True).encode()).hexdigest()
    queue = f"bgresults-tests-{_SESSION}-{digest[:12]}"
    options = {"exchange": "", "routing_key": queue, "auto_delete": True, "queue_arguments": {"x-expires": 300_000}}
    return {
        "broker_url": url,
        "result_backend": "rpc://",
        "result_expires": _EXPIRES,
        "task_default_queue": queue,
        "task_queues": {queue: options},
        **settings,
    }


def rpc_worker(
    pool: WorkerPool,
    url: str,
    *,
    serializer: str = "json",
    concurrency: int = 2,
    python: Path | None = None,
    **settings: Any,
) -> TaskWorker:
    """A running stock worker of ``pool`` that replies through the broker at ``url``."""
    complete = rpc_settings(url, **settings, worker=f"{serializer} {concurrency} {python}")
    del complete["worker"]
    return pool(serializer=serializer, concurrency=concurrency, python=python, **complete)


class WebApps:
    """Applications as a web process has them, with replies for results."""

    def __init__(self) -> None:
        self._made: list[Celery] = []

    def __call__(self, settings: dict[str, Any], **more: Any) -> Celery:
        """A new one, closed by :meth:`close`; in other threads it must not have waited with ``get()``."""
        app = make_app({**settings, **more})
        self._made.append(app)
        return app

    def close(self) -> None:
        """Close all of them, and the connections that all applications of this process share."""
        for app in self._made:
            close_app(app)
            # Where it was declared, and nobody has listened to it: what does not go by itself.
            own = getattr(app._local, "oid", None)
            if own is not None and str(app.conf.broker_url).startswith("amqp"):
                with contextlib.suppress(OSError, AMQPError):
                    delete_queue(app.conf.broker_url, own)
        self._made.clear()
        # kombu does not type this function.
        reset_pools: Callable[[], None] = kombu.pools.reset
        reset_pools()


def signature(app: Celery, name: str, *args: Any) -> Any:
    """Of a task that the worker of these tests has."""
    return app.signature(name, args, app=app)


class Published:
    """What this process sends: the ids, and where the replies shall go."""

    def __init__(self) -> None:
        self.reply_to: dict[str, str] = {}

    def record(self, properties: dict[str, Any], **_: Any) -> None:
        """Receives ``before_task_publish``."""
        self.reply_to[properties["correlation_id"]] = properties["reply_to"]


@contextlib.contextmanager
def _channel(url: str) -> Iterator[Any]:
    with _Connection(url) as connection, connection.channel() as channel:
        yield channel


def queue_exists(url: str, name: str) -> bool:
    """Ask the broker."""
    with _Connection(url) as connection:
        try:
            connection.channel().queue_declare(queue=name, passive=True)
        except NotFound:
            return False
        return True


def queue_length(url: str, name: str) -> int:
    """How many messages wait in a queue that is there."""
    with _channel(url) as channel:
        return int(channel.queue_declare(queue=name, passive=True).message_count)


def make_queue(url: str, name: str, *, expires: float) -> None:
    """One as those for replies, which lives so many seconds."""
    with _channel(url) as channel:
        channel.queue_declare(
            queue=name, durable=True, auto_delete=False, arguments={"x-expires": round(expires * 1000)}
        )


def delete_queue(url: str, *names: str) -> None:
    """Those that are not there are fine as well."""
    with _channel(url) as channel:
        for name in names:
            channel.queue_delete(queue=name)
