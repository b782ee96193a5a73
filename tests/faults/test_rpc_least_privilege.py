"""The RabbitMQ users of SECURITY.md: with their permissions everything works, and with less something does not."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.exceptions import AccessRefused
from kombu.connection import Connection

from bgresults import AMQPOptions, BackendUnavailableError, NotWatchableError, ResultWatcher
from bgresults.testing import RabbitMQServer
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id
from tests.support.rpc import proxy_to, through
from tests.support.rpc_lines import QUICK, RECOVERED, WAIT, shared_node
from tests.support.security import rules

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(120)]

# kombu has no types of its own.
_Connection: Any = Connection

RULES = rules("rabbitmqctl set_permissions web ")
BINDINGS = ("process", "task")
NOTHING = "^$"
LOGIN = "web:secret"


@pytest.fixture
def node() -> Iterator[RabbitMQServer]:
    """With a user ``web`` who may do nothing yet."""
    shared = shared_node()
    shared.control("add_user", "web", "secret")
    yield shared
    shared.control("delete_user", "web")


def allow(node: RabbitMQServer, binding: str, *, but: str | None = None) -> None:
    """What the line says, or all of it but one right."""
    program, command, name, *patterns = RULES[BINDINGS.index(binding)]
    assert (program, command, name, len(patterns)) == ("rabbitmqctl", "set_permissions", "web", 3)
    if but is not None:
        patterns[("configure", "write", "read").index(but)] = NOTHING
    node.control(command, name, *patterns)


def works(node: RabbitMQServer, binding: Any) -> None:
    """Declare, consume, acknowledge, reconnect, delete."""
    queues = set()
    with contextlib.closing(ReplyWriter(node.url(), persistent=True)) as writer:
        with proxy_to(node.url()) as proxy:
            url = through(proxy, node.url(login=LOGIN))
            with ResultWatcher(url, amqp=AMQPOptions(binding=binding), retry=QUICK) as watcher:
                assert watcher.wait_ready(WAIT)
                for _ in range(2):
                    task_id = new_id()
                    queue = watcher.declare_for(task_id)
                    queues.add(queue)
                    future = watcher.watch(task_id)
                    # The second one arrives on another connection.
                    wait_until(lambda queue=queue: writer.consumers(queue), "a consumer", WAIT)  # type: ignore[misc]
                    assert proxy.cut()
                    writer.write(queue, task_id, "result")
                    assert future.result(WAIT) == "result"
                    assert watcher.wait_ready(RECOVERED)
                assert watcher.stats().reconnects == 2
                assert watcher.stats().queues_lost == 0
                if binding == "process":
                    wait_until(lambda: writer.counts(watcher.reply_to) == (0, 1), "every reply to be taken", WAIT)
        wait_until(lambda: not any(map(writer.exists, queues)), "the reply queues to be deleted", WAIT)


def forbidden(queue: str) -> list[Callable[[Any], object]]:
    """What nobody has allowed the user."""
    return [
        lambda channel: channel.queue_declare("another"),
        lambda channel: channel.queue_declare(queue + "x"),
        lambda channel: channel.queue_delete("celery"),
        lambda channel: channel.basic_consume("celery"),
        lambda channel: channel.basic_get("celery"),
        lambda channel: channel.exchange_declare("another", "direct"),
        lambda channel: channel.queue_bind(queue, "amq.direct", "key"),
        lambda channel: _published(channel, queue),
    ]


def _published(channel: Any, queue: str) -> None:
    channel.confirm_select()
    channel.basic_publish_confirm(Message(b"forged"), "", queue)


def test_as_written(node: RabbitMQServer) -> None:
    for binding in BINDINGS:
        allow(node, binding)
        works(node, binding)


@pytest.mark.parametrize("binding", BINDINGS)
def test_nothing_more(node: RabbitMQServer, binding: str) -> None:
    allow(node, binding)
    own = f"bgresults.reply.{uuid.uuid4().hex}" if binding == "process" else new_id()
    with contextlib.closing(ReplyWriter(node.url())) as writer:
        for queue in (own, "celery"):
            writer.make(queue)
        with _Connection(node.url(login=LOGIN)) as connection:
            for act in forbidden(own):
                with pytest.raises(AccessRefused):
                    act(connection.channel())
        assert writer.counts(own) == (0, 0)
        writer.delete(own, "celery")


@pytest.mark.parametrize("right", ["configure", "read"])
@pytest.mark.parametrize("binding", BINDINGS)
def test_each_right_is_needed(node: RabbitMQServer, binding: Any, right: str) -> None:
    """To write is none of them."""
    allow(node, binding, but=right)
    with ResultWatcher(node.url(login=LOGIN), amqp=AMQPOptions(binding=binding), retry=QUICK) as watcher:
        error = watcher.watch(new_id()).exception(WAIT)
        assert isinstance(error, BackendUnavailableError if binding == "process" else NotWatchableError)
        assert "refused for user 'web'" in str(error)
