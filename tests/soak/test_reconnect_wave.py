"""Many processes lose one server at once: they come back, not all at the same moment, and nobody else suffers."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from bgresults.benchmarking.arithmetic import percentile
from bgresults.testing import FaultProxy, RabbitMQServer, RedisServer
from tests.soak.crowd import NEVER, Crowd
from tests.soak.pinging import Pinger
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import ResultWriter
from tests.support.rpc_lines import own_node

# The longest pause of RetryPolicy is 5 s; the rest is for a machine that has other things to do.
LAST_BACK = 5.0 + 30.0
# A server that is busy with all who come back must still answer others.
LONGEST_PING = 5.0
OUTAGE = 3.0
# Seconds of each line of the table.
STEP = 0.5


def table(title: str, times: list[float], pinger: Pinger) -> str:
    """When they had their results, and what another client saw of it."""
    counted = Counter(int(max(0.0, taken) / STEP) for taken in times)
    figures = ", ".join(f"p{share} {percentile(times, share):.2f} s" for share in (10, 50, 90, 99))
    lines = [f"{title}: {len(times)} are back, {figures}, the last one {max(times):.2f} s after the server"]
    lines += [
        f"  {step * STEP:4.1f} - {(step + 1) * STEP:4.1f} s  {counted[step]:4}  {'#' * counted[step]}"
        for step in range(max(counted) + 1)
    ]
    lines.append(f"  another client meanwhile: {pinger}")
    return "\n".join(lines)


@pytest.mark.parametrize("processes", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_over_redis(own_redis: RedisServer, processes: int) -> None:
    """The server is killed, and comes back with results of which nobody has heard."""
    outage = OUTAGE if processes > 20 else 0.5
    writer = ResultWriter(own_redis)
    with Crowd(own_redis.url()) as crowd:
        children = crowd.spawn("wave", processes)
        everything = processes * (1 + NEVER)
        wait_until(lambda: len(writer.channels()) == everything, "all subscriptions", 60)
        for task_id in children:
            writer.store(task_id, task_id)
        own_redis.save()
        own_redis.kill()
        time.sleep(outage)
        own_redis.start()
        began = time.monotonic()
        with Pinger(own_redis.client().ping) as pinger:
            results = crowd.hear("has", processes)
        times = [said["at"] - began for said in results.values()]
        print(table(f"{processes} processes, redis-server away for {outage:g} s", times, pinger))
        assert {task_id: said["value"] for task_id, said in results.items()} == {
            task_id: task_id for task_id in children
        }
        assert {said["reconnects"] for said in results.values()} == {1}
        wait_until(lambda: len(writer.channels()) == processes * NEVER, "the subscriptions that are left")
        # Two for each, the writer's, and the one that asks.
        wait_until(lambda: len(own_redis.clients()) <= processes + 3, "no more connections than before")
        assert len(own_redis.clients("pubsub")) == processes
    assert crowd.exit_code == 0
    assert max(times) < LAST_BACK
    assert percentile(times, 90) - percentile(times, 10) > outage / 10, "they came all at once"
    assert max(pinger.taken) < LONGEST_PING
    wait_until(lambda: not own_redis.channels() and not own_redis.clients("pubsub"), "the end of all subscriptions")
    writer.close()


@pytest.fixture
def node() -> RabbitMQServer:
    return own_node()


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [50])
def test_over_rabbitmq(node: RabbitMQServer, processes: int) -> None:
    """The node is killed; when it is back, replies are in the queues before anybody else is."""
    with node, FaultProxy(node.port) as proxy, Crowd(node.url(port=proxy.port) + "?queue_expires=120") as crowd:
        children = crowd.spawn("wave", processes)
        proxy.refuse()
        node.kill()
        time.sleep(OUTAGE)
        node.start()
        writer = ReplyWriter(node.url(), persistent=True)
        queues = {task_id: said["reply_to"] for task_id, said in children.items()}
        for task_id, queue in queues.items():
            writer.write(queue, task_id, task_id)
        assert {writer.counts(queue) for queue in queues.values()} == {(1, 0)}
        began = time.monotonic()
        proxy.accept()
        with Pinger(lambda: writer.exists("amq.nothing")) as pinger:
            results = crowd.hear("has", processes)
        times = [said["at"] - began for said in results.values()]
        print(table(f"{processes} processes, a RabbitMQ node killed and started again", times, pinger))
        assert {task_id: said["value"] for task_id, said in results.items()} == {
            task_id: task_id for task_id in children
        }
        assert {said["reconnects"] for said in results.values()} == {1}
        assert {writer.counts(queue) for queue in queues.values()} == {(0, 1)}
        crowd.close()
        assert crowd.exit_code == 0
        writer.close()
        wait_until(lambda: not node.queues("bgresults."), "the end of all reply queues", 30)
        assert not node.connections("bgresults")
    assert max(times) < LAST_BACK
    assert percentile(times, 90) - percentile(times, 10) > OUTAGE / 10, "they came all at once"
    assert max(pinger.taken) < LONGEST_PING
