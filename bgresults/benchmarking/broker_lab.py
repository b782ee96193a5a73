"""Where a question about replies is measured: a RabbitMQ that runs already, in place of a Redis."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.connection import Connection

from bgresults.benchmarking.lab import AnyLab, Settings
from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.senders import AMQPAddress

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BrokerLab", "delete_queues", "find_broker", "open_broker_lab"]

# kombu has no types of its own.
_Connection: Any = Connection
_PATIENCE = 5.0


class BrokerLab(AnyLab):
    """With a broker. Others may use it too; every contender deletes the queues that it made.

    Args:
        url: of the broker.
        publisher, settings: see :class:`AnyLab`.
    """

    def __init__(self, url: str, publisher: Publisher, **settings: Unpack[Settings]) -> None:
        super().__init__(publisher, **settings)
        self.url = url


def broker_url() -> str:
    """``BGRESULTS_RABBITMQ_URL``, or the default port of this machine."""
    return os.environ.get("BGRESULTS_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")


def find_broker() -> str | None:
    """Say why there is no broker to be used; None: there is one."""
    with _Connection(broker_url(), connect_timeout=_PATIENCE) as connection:
        where = connection.as_uri()
        try:
            connection.connect()
        except (*connection.connection_errors, OSError) as error:
            words = str(error) or type(error).__name__
            return f"no RabbitMQ at {where} ({words}): start one, or set BGRESULTS_RABBITMQ_URL"
    return None


def delete_queues(url: str, names: Iterable[str]) -> None:
    """Delete queues, whoever uses them, and whether they are there or not."""
    with _Connection(url, connect_timeout=_PATIENCE) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(queue=name)


@contextmanager
def open_broker_lab(**settings: Unpack[Settings]) -> Iterator[BrokerLab]:
    """A lab with a publisher of its own, at the broker that is there."""
    url = broker_url()
    with Publisher(AMQPAddress(url)) as publisher:
        lab = BrokerLab(url, publisher, **settings)
        with _Connection(url, connect_timeout=_PATIENCE) as connection:
            properties = connection.connection.server_properties
        lab.note(f"{properties.get('product', 'broker')} {properties.get('version', 'of an unknown version')}")
        yield lab
