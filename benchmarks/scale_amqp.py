"""What web processes cost a RabbitMQ: the constants of docs/scale.md. No floor.

64 real watchers, in eight processes, and a node of their own. It is as it is installed but for the buffers of its
sockets, which are otherwise what the kernel makes them, and differ from one machine to the next. Memory, processes and
descriptors are what the node has after a garbage collection; its processor time is that of all its threads. What the
watchers need of theirs is not in these figures, nor what workers do beyond publishing.

lone: replies at a pace at which each travels alone. batch: as fast as the node takes them.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from kombu.connection import Connection

from bgresults import AMQPOptions
from bgresults.benchmarking import Lab
from bgresults.benchmarking.broker_gauge import held, used
from bgresults.benchmarking.contenders import OURS
from bgresults.benchmarking.fleet import Fleet
from bgresults.benchmarking.linux import LinuxQuestion
from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.senders import AMQPAddress
from bgresults.benchmarking.wire import new_ids
from bgresults.testing.rabbitmq import RabbitMQServer, find_rabbitmq

WATCHERS = 64
TYPES = ("classic", "quorum")
SIZE = 200
RATE = 400
# Seconds in which each side of a connection sends a heartbeat or two.
REST = 20.0
BUFFERS = "tcp_listen_options.sndbuf = 32768\ntcp_listen_options.recbuf = 32768\n"

# kombu has no types of its own.
_Connection: Any = Connection


def measure(lab: Lab) -> None:
    """One node for all rounds; each part leaves it as it was."""
    with RabbitMQServer() as node:
        _warm(node)
        before = held(node)
        with Fleet(node.url()):
            there = held(node) - before
            _record(lab, "a watcher, sockets as the kernel makes them: memory, bytes", there.memory / WATCHERS)
    with RabbitMQServer(config=BUFFERS) as node:
        _warm(node)
        for number in lab.rounds():
            for kind in lab.in_turn(TYPES, number):
                _watchers(lab, node, kind, rest=number == 0 and kind == "classic")
                _queues(lab, node, kind)
                _task_queues(lab, node, kind)
        _restarts(lab, node)
    lab.note(f"{WATCHERS} watchers; a node of one machine: a quorum queue has one member only")


def _warm(node: RabbitMQServer) -> None:
    """What is loaded and made once."""
    with Fleet(node.url(), processes=1, each=1):
        pass


def _record(lab: Lab, metric: str, value: float) -> None:
    lab.record(metric, OURS, value)


def _watchers(lab: Lab, node: RabbitMQServer, kind: str, *, rest: bool) -> None:
    """One queue for each process."""
    before, spent = held(node), used(node)
    options = AMQPOptions(queue_type=kind)
    with Fleet(node.url(), amqp=options) as fleet, Publisher(AMQPAddress(node.url())) as publisher:
        connected = used(node) - spent
        name = f"a watcher, {kind} queue"
        _record(lab, f"{name}: to connect, processor time, ms", connected.seconds * 1e3 / WATCHERS)
        time.sleep(2.0)
        there = held(node) - before
        # The publisher has a connection as well, of 65: what it takes is not worth a word.
        for what in ("connections", "channels", "queues", "processes", "files"):
            share = WATCHERS if what == "queues" else WATCHERS + 1
            _record(lab, f"{name}: {what}", getattr(there, what) / share)
        _record(lab, f"{name}: memory, bytes", there.memory / (WATCHERS + 1))
        if rest:
            spent = used(node)
            time.sleep(REST)
            idle = used(node) - spent
            _record(lab, f"{WATCHERS} watchers at rest: processor time per second, ms", idle.seconds * 1e3 / REST)
        _replies(lab, node, fleet, publisher, kind)
        _cut(lab, node, fleet, kind)
    if rest:
        spent = used(node)
        time.sleep(REST)
        idle = used(node) - spent
        _record(lab, "nobody there: processor time per second, ms", idle.seconds * 1e3 / REST)


def _replies(lab: Lab, node: RabbitMQServer, fleet: Fleet, publisher: Publisher, kind: str) -> None:
    queues = [name or "" for name in fleet.reply_to]
    for way, count in (("lone", lab.size(800, 400)), ("batch", lab.size(20_000, 5000))):
        task_ids = new_ids(count)
        fleet.watch(task_ids)
        # Ids are shared out to the watchers in turn, and replies to the queues.
        publisher.prepare(task_ids, SIZE, queues)
        spent = used(node)
        if way == "lone":
            publisher.pace(RATE)
        else:
            publisher.flood()
        publisher.sent()
        fleet.collect()
        taken = used(node) - spent
        _record(lab, f"a {way} reply, {kind} queue: processor time, µs", taken.seconds * 1e6 / count)
        _record(lab, f"a {way} reply, {kind} queue: written to disk, bytes", taken.written / count)


def _cut(lab: Lab, node: RabbitMQServer, fleet: Fleet, kind: str) -> None:
    """An administrator closes all connections at once."""
    fleet.watch(new_ids(WATCHERS * 100))
    reconnects = fleet.reconnects()
    spent, started = used(node), time.monotonic()
    node.close_connections()
    ended = fleet.reconnected(reconnects + WATCHERS)
    taken = used(node) - spent
    name = f"all cut, {kind} queues"
    _record(lab, f"{name}: until all {WATCHERS} have caught up, s", ended - started)
    _record(lab, f"{name}: processor time of a watcher, ms", taken.seconds * 1e3 / WATCHERS)


def _queues(lab: Lab, node: RabbitMQServer, kind: str) -> None:
    """Queues alone, without consumers, one after the other over one connection."""
    count = lab.size(300, 100)
    names = [f"scale-{uuid.uuid4()}" for _ in range(count)]
    arguments = {"x-queue-type": kind, "x-expires": 600_000}
    with _Connection(node.url()) as connection:
        channel = connection.channel()
        before = held(node)
        spent, started = used(node), time.monotonic()
        for name in names:
            channel.queue_declare(queue=name, durable=True, auto_delete=False, arguments=arguments)
        taken, ended = used(node) - spent, time.monotonic()
        there = held(node) - before
        name = f"a {kind} queue"
        _record(lab, f"{name}: to declare, ms", (ended - started) * 1e3 / count)
        _record(lab, f"{name}: to declare, processor time, ms", taken.seconds * 1e3 / count)
        _record(lab, f"{name}: to declare, written to disk, bytes", taken.written / count)
        _record(lab, f"{name}: memory, bytes", there.memory / count)
        _record(lab, f"{name}: processes", there.processes / count)
        _record(lab, f"{name}: files", there.files / count)
        spent, started = used(node), time.monotonic()
        for each in names:
            channel.queue_delete(queue=each)
        taken, ended = used(node) - spent, time.monotonic()
        _record(lab, f"{name}: to delete, ms", (ended - started) * 1e3 / count)
        _record(lab, f"{name}: to delete, processor time, ms", taken.seconds * 1e3 / count)


def _task_queues(lab: Lab, node: RabbitMQServer, kind: str) -> None:
    """A queue for each task, from its declaration to its deletion."""
    count = WATCHERS * lab.size(5, 2)
    options = AMQPOptions(binding="task", queue_type=kind)
    with Fleet(node.url(), amqp=options) as fleet, Publisher(AMQPAddress(node.url())) as publisher:
        task_ids = new_ids(count)
        publisher.prepare(task_ids, SIZE, task_ids)
        spent, started = used(node), time.monotonic()
        fleet.watch(task_ids, declare=True)
        publisher.flood()
        publisher.sent()
        ended = fleet.collect()
        # They are deleted when their futures are done, by whoever had them.
        while (left := len(node.queues())) > 0:
            if time.monotonic() - ended > 60.0:
                raise TimeoutError(f"{left} queues of tasks are left")
        taken = used(node) - spent
    _record(lab, f"a task, {kind} queue of its own: processor time, ms", taken.seconds * 1e3 / count)
    _record(lab, f"a task, {kind} queue of its own: of all {count} at once, ms", (ended - started) * 1e3 / count)


def _restarts(lab: Lab, node: RabbitMQServer) -> None:
    """The node is away for as long as it takes to start."""
    with Fleet(node.url()) as fleet:
        fleet.watch(new_ids(WATCHERS * 100))
        for _ in range(2):
            reconnects = fleet.reconnects()
            node.stop()
            stopped = time.monotonic()
            node.start()
            started = time.monotonic()
            ended = fleet.reconnected(reconnects + WATCHERS)
            _record(lab, "a restart: until the node answers, s", started - stopped)
            _record(lab, f"a restart: until all {WATCHERS} have caught up after that, s", ended - started)


class _Question(LinuxQuestion):
    """One with a node of its own."""

    def lacking(self) -> str | None:
        """A RabbitMQ that can be started."""
        if find_rabbitmq() is None:
            return "no rabbitmq-server: install one (apt-get install rabbitmq-server)"
        return super().lacking()


QUESTION = _Question(
    title="what web processes cost a RabbitMQ",
    unit="as named",
    checks=[],
    measure=measure,
    decimals=2,
)
