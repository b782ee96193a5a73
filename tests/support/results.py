"""Results, written to Redis as a Celery worker writes them, without a worker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from bgresults.testing import RedisServer, SentinelTrio

__all__ = ["ResultWriter", "new_id", "new_ids", "state_body"]


def new_id() -> str:
    """A task id that nobody else uses."""
    return str(uuid.uuid4())


def new_ids(count: int) -> list[str]:
    """Several of them."""
    return [new_id() for _ in range(count)]


def state_body(task_id: str, /, status: str = "SUCCESS", result: Any = None, **fields: Any) -> bytes:
    """The JSON of one state; ``fields`` replace or add to what is in it, such as ``task_id=`` for a wrong one."""
    ended = status in {"SUCCESS", "FAILURE", "REVOKED"}
    body = {
        "status": status,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": "2024-02-29T12:00:00+00:00" if ended else None,
        "task_id": task_id,
        **fields,
    }
    return json.dumps(body).encode()


class ResultWriter:
    """Plays the workers of one test.

    Args:
        server: where to; of a trio, to whichever server is the master.
        prefix: what the keys begin with, complete with its separator.
        db: number of the database.
    """

    def __init__(self, server: RedisServer | SentinelTrio, prefix: str = "", db: int = 0) -> None:
        self.client = server.client(db=db)
        # Connected now, so that a test that counts connections can count this one first.
        self.client.ping()
        self.prefix = prefix

    def key(self, task_id: str) -> str:
        """The key, and channel, of a task."""
        return f"{self.prefix}celery-task-meta-{task_id}"

    def write(self, task_id: str, /, result: Any = None, status: str = "SUCCESS", **fields: Any) -> bytes:
        """Store and publish a state in one transaction, as Celery does; returns its body."""
        return self.write_body(task_id, state_body(task_id, status, result, **fields))

    def write_body(self, task_id: str, body: bytes) -> bytes:
        """:meth:`write` with any body at all."""
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.set(self.key(task_id), body, ex=600)
            pipeline.publish(self.key(task_id), body)
            pipeline.execute()
        return body

    def write_all(self, bodies: Mapping[str, bytes], *, per_transaction: int = 200) -> None:
        """Store and publish many states, in a few transactions instead of one each."""
        items = list(bodies.items())
        for start in range(0, len(items), per_transaction):
            with self.client.pipeline(transaction=True) as pipeline:
                for task_id, body in items[start : start + per_transaction]:
                    pipeline.set(self.key(task_id), body, ex=600)
                    pipeline.publish(self.key(task_id), body)
                pipeline.execute()

    def fail(self, task_id: str, error: Exception, traceback: str = "Traceback ...") -> None:
        """The state of a task that raised ``error``."""
        described = {
            "exc_type": type(error).__qualname__,
            "exc_message": list(error.args),
            "exc_module": type(error).__module__,
        }
        self.write(task_id, described, "FAILURE", traceback=traceback)

    def store(self, task_id: str, /, result: Any = None, status: str = "SUCCESS", **fields: Any) -> bytes:
        """Only store: nobody hears of it."""
        body = state_body(task_id, status, result, **fields)
        self.client.set(self.key(task_id), body, ex=600)
        return body

    def publish(self, task_id: str, /, result: Any = None, status: str = "SUCCESS", **fields: Any) -> bytes:
        """Only publish: nobody can read it later."""
        body = state_body(task_id, status, result, **fields)
        self.client.publish(self.key(task_id), body)
        return body

    def channels(self) -> set[str]:
        """Ids that somebody is subscribed to, under this prefix."""
        channels: list[Any] = self.client.pubsub_channels(self.key("*"))
        start = len(self.key(""))
        return {bytes(channel).decode()[start:] for channel in channels}

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
