"""The doctor at a message broker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import amqp
from amqp import spec
from kombu.messaging import Producer
from kombu.serialization import dumps

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.rpc import ResultConsumer
from bgresults.consumers.rpc.links import AMQPLink, ChannelClosed, Link
from bgresults.diagnosis.findings import Finding
from bgresults.diagnosis.round_trip import (
    UNREACHABLE,
    arrival,
    connecting,
    new_probe_id,
    no_room,
    probe_state,
    read_only,
)
from bgresults.errors import TooManyPendingError, WatcherError
from bgresults.watcher import ResultWatcher

__all__ = ["broker_overview", "examine_broker"]

# py-amqp and kombu have no types of their own.
_Message: Any = amqp.Message
_Producer: Any = Producer
_dumps: Any = dumps
_ACCESS_REFUSED = 403
_CHECK_BROKER = "check that the name stands for one broker, or for the nodes of one cluster"
_CHECK_ALARMS = "check the broker's alarms: without memory or disk it takes no messages, from workers neither"
_CHECK_QUEUES = "the user needs the permissions to configure and to read its reply queues"


def examine_broker(watcher: ResultWatcher, consumer: ResultConsumer, timeout: float) -> Iterator[Finding]:
    """Yield what is found, until something makes the rest pointless."""
    try:
        link = consumer._open_link()
    except ConnectionLost as lost:
        yield Finding("error", "connection", lost.reason, lost.cure or UNREACHABLE)
        return
    try:
        yield _version(link)
        if trouble := connecting(watcher, timeout):
            yield trouble
            return
        yield from _round_trip(watcher, consumer, link, timeout)
    except ConnectionLost as lost:
        yield Finding("error", "connection", lost.reason, lost.cure or _CHECK_ALARMS)
    finally:
        link.close()


def broker_overview(consumer: ResultConsumer, queues: Iterable[str]) -> dict[str, Any]:
    """As :func:`~bgresults.diagnosis.overview.overview_of`."""
    link = consumer._open_link()
    try:
        return {
            "server": _product(link),
            "address": consumer.address.text,
            "queues": {queue: _queue(link, queue) for queue in dict.fromkeys(queues)},
        }
    finally:
        link.close()


def _queue(link: Link, name: str) -> dict[str, Any]:
    try:
        with link.asking():
            _, messages, readers = link.channel.queue_declare(queue=name, passive=True)
    except ChannelClosed as closed:
        return {"messages": None, "readers": None, "trouble": str(closed)}
    return {"messages": messages, "readers": readers, "trouble": None}


def _product(link: Link) -> str | None:
    properties = getattr(link.channel.connection, "server_properties", None)
    return f"{properties.get('product')} {properties.get('version')}" if properties else None


def _version(link: Link) -> Finding:
    product = _product(link)
    if product is None:
        return Finding("ok", "server", "connected, through a transport of kombu that knows no versions")
    return Finding("ok", "server", f"connected to {product}")


def _round_trip(watcher: ResultWatcher, consumer: ResultConsumer, link: Link, timeout: float) -> Iterator[Finding]:
    task_id = new_probe_id()
    try:
        queue = watcher.declare_for(task_id)
        future = watcher.watch(task_id, lifetime=2 * timeout)
    except TooManyPendingError as error:
        yield no_room(error)
        return
    except WatcherError as error:
        yield Finding("error", "permissions", str(error), _CHECK_QUEUES)
        return
    which = "one queue for each task" if consumer.binding == "task" else f"the reply queue of this process, {queue}"
    yield Finding("ok", "permissions", f"the user may declare and consume {which}")
    begun = time.monotonic()
    try:
        _reply(link, str(queue), task_id, consumer.serializer)
    except ChannelClosed as closed:
        yield read_only(str(closed)) if closed.code == _ACCESS_REFUSED else _refused(closed)
    else:
        yield arrival(future, begun, timeout, _CHECK_BROKER)
    finally:
        future.cancel()


def _reply(link: Link, queue: str, task_id: str, serializer: str) -> None:
    """What a worker does with a result."""
    state = probe_state(task_id)
    with link.asking():
        if not isinstance(link, AMQPLink):
            _Producer(link.channel, auto_declare=False).publish(
                state, exchange="", routing_key=queue, serializer=serializer, correlation_id=task_id
            )
            return
        # py-amqp's basic_publish() looks first whether the broker has said something, and our transport would wait for
        # that.
        content_type, content_encoding, body = _dumps(state, serializer=serializer)
        message = _Message(body, content_type=content_type, content_encoding=content_encoding, correlation_id=task_id)
        link.channel.send_method(spec.Basic.Publish, "Bssbb", (0, "", queue, False, False), message)
        # That it may not be published is said when something is asked next; and a broker that blocks its publishers,
        # for want of memory or disk, says nothing.
        link.channel.queue_declare(queue=queue, passive=True)


def _refused(closed: ChannelClosed) -> Finding:
    return Finding("error", "round-trip", f"the broker does not take a reply: {closed}", _CHECK_QUEUES)
