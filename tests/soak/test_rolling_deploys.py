"""Processes with watchers come and go, closed or killed, as with every deploy: the servers keep nothing of them."""

from __future__ import annotations

import os
import signal

import pytest

from bgresults.testing import RabbitMQServer, RedisServer
from tests.soak.crowd import NEVER, Crowd
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import ResultWriter
from tests.support.rpc_lines import own_node

# Seconds after which the broker deletes the queue of a process that was killed.
EXPIRES = 5


def end(number: int) -> signal.Signals:
    """Every other one is killed."""
    return signal.SIGKILL if number % 2 else signal.SIGTERM


@pytest.mark.parametrize("deploys", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_over_redis(own_redis: RedisServer, deploys: int) -> None:
    """A new process has its result before the old one, which watches others, goes."""
    writer = ResultWriter(own_redis)
    most = 0
    with Crowd(own_redis.url()) as crowd:
        old = None
        for number in range(deploys):
            new = crowd.spawn(f"deploy-{number}", 1)
            [(task_id, said)] = new.items()
            writer.write(task_id, task_id)
            assert crowd.hear("has", 1)[task_id]["value"] == task_id
            most = max(most, len(writer.channels()))
            if old is not None:
                os.kill(old, end(number))
            old = said["pid"]
        assert most >= NEVER, "what they watch is subscribed to"
    assert crowd.exit_code == 0
    wait_until(lambda: not own_redis.channels(), "the end of all subscriptions")
    # The writer's, and the one that asks.
    wait_until(lambda: len(own_redis.clients()) == 2, "the end of all connections")
    assert not own_redis.clients("pubsub")
    print(f"{deploys} processes on Redis, half of them killed: 0 channels, 0 connections of theirs")
    writer.close()


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deploys", [100])
def test_over_rabbitmq(deploys: int) -> None:
    """The same with reply queues: a closed watcher deletes its own, that of a killed one expires."""
    node: RabbitMQServer = own_node()
    with node:
        writer = ReplyWriter(node.url())
        queues = []
        with Crowd(node.url() + f"?queue_expires={EXPIRES}") as crowd:
            old = None
            for number in range(deploys):
                new = crowd.spawn(f"deploy-{number}", 1)
                [(task_id, said)] = new.items()
                queues.append(said["reply_to"])
                writer.write(queues[-1], task_id, task_id)
                assert crowd.hear("has", 1)[task_id]["value"] == task_id
                if old is not None:
                    os.kill(old, end(number))
                old = said["pid"]
        assert crowd.exit_code == 0
        assert len(set(queues)) == deploys
        wait_until(lambda: not node.connections("bgresults"), "the end of all connections", 30)
        writer.close()
        # To ask for a queue by its name would be to use it, and it would not expire.
        wait_until(lambda: not node.queues("bgresults."), "the end of all reply queues", 2 * EXPIRES + 30)
        wait_until(lambda: not node.control("list_channels", "--no-table-headers", "pid").split(), "no channels", 30)
        print(f"{deploys} processes on RabbitMQ, half of them killed: 0 queues, 0 channels, 0 connections of theirs")
