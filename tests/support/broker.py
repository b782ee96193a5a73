"""Replies, sent through a message broker as a Celery worker sends them, without a worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.messaging import Producer

from tests.support.results import state_body

__all__ = ["ReplyWriter", "publish"]

# kombu has no types of its own.
_Connection: Any = Connection
_Producer: Any = Producer


class ReplyWriter:
    """Plays the workers of one test, over one connection that is made now. For one thread at a time.

    A method that returns has been confirmed by the broker: the reply is in its queue, if there is one.

    Args:
        url: of the broker; any that kombu knows.
        persistent: whether replies survive a restart of the broker, as with Celery's ``result_persistent``.
        confirm: whether to wait for the broker after each reply. AMQP only.
    """

    def __init__(self, url: str, *, persistent: bool = False, confirm: bool = True) -> None:
        self._url = url
        self._persistent = persistent
        self._confirm = confirm
        self.reconnect()

    def reconnect(self) -> None:
        """Connect anew, after the broker or the connection to it was gone."""
        if hasattr(self, "_connection"):
            self.close()
        self._connection = _Connection(self._url, connect_timeout=10)
        if self._connection.transport.driver_type == "amqp":
            self._connection.transport_options = {"confirm_publish": self._confirm}
        self._producer = _Producer(self._connection.channel())

    def write(
        self, queue: str | None, task_id: str, /, result: Any = None, status: str = "SUCCESS", **fields: Any
    ) -> None:
        """Reply with a state; ``fields`` replace or add to what is in its body."""
        self.write_raw(queue, state_body(task_id, status, result, **fields), correlation_id=task_id)

    def write_all(self, queue: str | None, task_ids: Iterable[str]) -> None:
        """Reply to each of them with its id."""
        for task_id in task_ids:
            self.write(queue, task_id, task_id)

    def write_raw(
        self,
        queue: str | None,
        body: bytes,
        *,
        content_type: str | None = "application/json",
        content_encoding: str | None = "utf-8",
        correlation_id: str | None = None,
        **properties: Any,
    ) -> None:
        """Reply with any body at all; ``properties`` are AMQP's, such as ``headers``."""
        assert queue is not None, "the reply queue must be known"
        properties.setdefault("delivery_mode", 2 if self._persistent else 1)
        self._producer.publish(
            body,
            exchange="",
            routing_key=queue,
            content_type=content_type,
            content_encoding=content_encoding,
            correlation_id=correlation_id,
            **properties,
        )

    def write_message(self, queue: str | None, message: Any) -> None:
        """Reply with a message of py-amqp's own, whatever it makes of its properties. AMQP only."""
        assert queue is not None, "the reply queue must be known"
        self._producer.channel.basic_publish(message, "", queue)

    def fail(self, queue: str | None, task_id: str, error: Exception, traceback: str = "Traceback ...") -> None:
        """The state of a task that raised ``error``."""
        described = {
            "exc_type": type(error).__qualname__,
            "exc_message": list(error.args),
            "exc_module": type(error).__module__,
        }
        self.write(queue, task_id, described, "FAILURE", traceback=traceback)

    def make(self, queue: str, **settings: Any) -> None:
        """Declare a queue that is not the library's, such as one of another shape with the same name."""
        with self._connection.channel() as channel:
            channel.queue_declare(queue=queue, **{"durable": True, "auto_delete": False, **settings})

    def counts(self, queue: str | None) -> tuple[int, int] | None:
        """How many replies wait in a queue, and how many consumers it has; None: there is no such queue.

        What was sent to a consumer and is not acknowledged is not counted. RabbitMQ only.
        """
        try:
            with self._connection.channel() as channel:
                found = channel.queue_declare(queue=queue, passive=True)
        except NotFound:
            return None
        return int(found.message_count), int(found.consumer_count)

    def exists(self, queue: str | None) -> bool:
        """Whether there is such a queue."""
        return self.counts(queue) is not None

    def consumers(self, queue: str | None) -> int:
        """How many a queue has; 0 too if there is no such queue."""
        counts = self.counts(queue)
        return 0 if counts is None else counts[1]

    def delete(self, *queues: str | None) -> None:
        """Delete queues, those that are not there among them."""
        with self._connection.channel() as channel:
            for queue in queues:
                channel.queue_delete(queue=queue)

    def close(self) -> None:
        """Close the connection."""
        try:
            self._connection.release()
        except OSError:
            pass  # It is gone already.


def publish(
    url: str, queue: str | None, task_id: str, result: Any = None, status: str = "SUCCESS", **fields: Any
) -> None:
    """Reply with one state, over a connection for it alone."""
    writer = ReplyWriter(url)
    try:
        writer.write(queue, task_id, result, status, **fields)
    finally:
        writer.close()
