"""The two kinds of result backends, known by a URL alone: for tests of both, and for programs that tests start."""

from __future__ import annotations

import weakref
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis

from bgresults import AMQPOptions, RedisOptions, ResultWatcher
from tests.support.broker import ReplyWriter
from tests.support.results import state_body

__all__ = ["KINDS", "WAIT", "Backend", "alert", "backend_of"]

#: Seconds after which something that should happen will not.
WAIT = 30
KINDS = ("redis", "rpc")


class Backend(Protocol):
    """Where the results of one test come from."""

    kind: str
    url: str
    port: int

    def send(self, watcher: ResultWatcher, task_id: str, result: Any = None) -> None:
        """A worker ends a task. Over a connection that is there already."""

    def send_raw(self, watcher: ResultWatcher, task_id: str, body: bytes) -> None:
        """:meth:`send` with any body at all."""

    def close(self) -> None:
        """Close the worker's connection."""


def backend_of(url: str) -> Backend:
    """The backend behind a URL of a watcher's."""
    return _Rpc(url) if url.startswith(("amqp", "rpc+")) else _Redis(url)


def alert(url: str) -> dict[str, Any]:
    """Settings of a watcher that looks after a silent link all the time."""
    if url.startswith("redis"):
        return {"redis": RedisOptions(health_check_interval=0.1, read_timeout=1.0)}
    return {"amqp": AMQPOptions(heartbeat=1, read_timeout=2.0)}


class _Redis:
    kind = "redis"

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = urlsplit(url).port or 6379
        self._client = redis.Redis.from_url(url)
        self._client.ping()

    def send(self, watcher: ResultWatcher, task_id: str, result: Any = None) -> None:
        self.send_raw(watcher, task_id, state_body(task_id, result=result))

    def send_raw(self, watcher: ResultWatcher, task_id: str, body: bytes) -> None:
        key = f"celery-task-meta-{task_id}"
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.set(key, body, ex=600)
            pipeline.publish(key, body)
            pipeline.execute()

    def close(self) -> None:
        self._client.close()


class _Rpc:
    kind = "rpc"

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = urlsplit(url).port or 5672
        self._writer = ReplyWriter(url.removeprefix("rpc+"))
        self._connected: weakref.WeakSet[ResultWatcher] = weakref.WeakSet()

    def send(self, watcher: ResultWatcher, task_id: str, result: Any = None) -> None:
        self.send_raw(watcher, task_id, state_body(task_id, result=result))

    def send_raw(self, watcher: ResultWatcher, task_id: str, body: bytes) -> None:
        if watcher not in self._connected:
            # Later on its queue has a name, also while there is no connection.
            assert watcher.wait_ready(WAIT)
            self._connected.add(watcher)
        # An id may be longer than a property can be: what is in the body decides.
        short = task_id if len(task_id) < 100 else None
        self._writer.write_raw(watcher.reply_to, body, correlation_id=short)

    def close(self) -> None:
        self._writer.close()
