"""What PUBLISH costs the nodes of a Redis Cluster: constants of docs/scale.md. No floor.

Celery has no backend for a cluster, and neither Celery nor a watcher can use a node of one; this is about PUBLISH
alone. Somebody publishes through one node, nobody is subscribed. Processor time is each node's own, from what it counts
itself; bus messages are those that the node has sent to the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bgresults.benchmarking import Lab, Question
from bgresults.benchmarking.contenders import OURS
from bgresults.benchmarking.redis_gauge import RedisGauge
from bgresults.benchmarking.waiting import until
from bgresults.benchmarking.wire import new_ids, payload
from bgresults.testing.servers import RedisServer, free_port

SLOTS = 16384
SIZE = 200


def measure(lab: Lab) -> None:
    """One server that is no cluster, then clusters of masters without replicas."""
    count = lab.size(20_000, 5000)
    for _ in lab.rounds():
        for nodes in (1, 3, 6):
            with _cluster(nodes) as servers, ExitStack() as stack:
                gauges = [stack.enter_context(RedisGauge(server)) for server in servers]
                before = [gauge.read() for gauge in gauges]
                sent = _bus(gauges[0]) if nodes > 1 else 0
                body = payload(new_ids(1)[0], SIZE)
                with gauges[0].client.pipeline(transaction=False) as pipeline:
                    for task_id in new_ids(count):
                        pipeline.publish(f"celery-task-meta-{task_id}", body)
                    pipeline.execute()
                # What has been sent is to be received.
                time.sleep(0.5)
                spent = [gauge.read() - each for gauge, each in zip(gauges, before, strict=True)]
                name = f"{nodes} nodes" if nodes > 1 else "no cluster"
                lab.record(
                    f"{name}: processor time of the node that is asked, µs", OURS, spent[0].seconds * 1e6 / count
                )
                if nodes > 1:
                    others = sum(each.seconds for each in spent[1:]) / (nodes - 1)
                    lab.record(f"{name}: processor time of each other one, µs", OURS, others * 1e6 / count)
                    lab.record(f"{name}: bus messages", OURS, (_bus(gauges[0]) - sent) / count)
    lab.note(f"{count} times, {SIZE} bytes each, pipelined")


def _bus(gauge: RedisGauge) -> int:
    """How often a PUBLISH was passed on to another node."""
    found = gauge.client.cluster("INFO")
    return int(found.get("cluster_stats_messages_publish_sent", 0))


@contextmanager
def _cluster(nodes: int) -> Iterator[list[RedisServer]]:
    """Masters that know each other, and share the slots; or one server."""
    with ExitStack() as stack:
        if nodes == 1:
            yield [stack.enter_context(RedisServer())]
            return
        buses = [free_port() for _ in range(nodes)]
        servers = [
            stack.enter_context(RedisServer(args=["--cluster-enabled", "yes", "--cluster-port", str(bus)]))
            for bus in buses
        ]
        for number, server in enumerate(servers):
            first, last = SLOTS * number // nodes, SLOTS * (number + 1) // nodes - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        until(lambda: all(_complete(server, nodes) for server in servers), "the nodes are a cluster")
        yield servers


def _complete(server: RedisServer, nodes: int) -> bool:
    with server.client() as client:
        found = client.cluster("INFO")
        links = client.execute_command("CLUSTER LINKS") or ()
    # One connection to each other node, and one from it.
    return found["cluster_state"] == "ok" and int(found["cluster_known_nodes"]) == nodes and len(links) >= 2 * nodes - 2


QUESTION = Question(
    title="what PUBLISH costs the nodes of a Redis Cluster",
    unit="as named",
    checks=[],
    measure=measure,
    decimals=2,
)
