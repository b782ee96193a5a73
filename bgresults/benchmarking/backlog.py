"""A backlog of replies: how fast it is consumed once there is time for it.

Ours: all ids are watched, and the drain thread is held up by a callback, while the publisher fills the reply queue. The
clock starts when the callback is let go, and stops when the future of the last reply has its result. By then every
body was decoded, its future was found and resolved, and all but the last turn's deliveries were acknowledged. What the
broker may send ahead of acknowledgements (``prefetch``, a fraction of the backlog) is on its way already.

kombu: a queue is filled, and then a ``kombu.Consumer`` decodes and calls back. It acknowledges nothing and looks for
nobody. The clock starts before it consumes, and stops in its last callback.
"""

from __future__ import annotations

import threading
import time
import uuid
from functools import partial
from typing import Any

from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer

from bgresults.benchmarking.broker_lab import BrokerLab, delete_queues
from bgresults.benchmarking.contenders import OURS, PATIENCE
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.reply_contenders import OursByReply
from bgresults.benchmarking.team import Team
from bgresults.benchmarking.wire import new_ids

__all__ = ["KOMBU", "measure_backlog"]

KOMBU = "kombu"

# kombu has no types of its own.
_Connection: Any = Connection
_Consumer: Any = Consumer
_Queue: Any = Queue


def measure_backlog(lab: BrokerLab, *, count: int) -> None:
    """Record the results per second of both, one metric for each body size.

    Args:
        lab: where to.
        count: replies in the backlog.
    """
    team = Team(1, OURS)
    ours = OursByReply(lab.url, team)
    try:
        for number in lab.rounds():
            for label, size in BODY_SIZES.items():
                for name in lab.in_turn((KOMBU, OURS), number):
                    run = partial(_ours, lab, ours, count, size) if name == OURS else partial(_kombu, lab, count, size)
                    lab.record(label, name, count / lab.undisturbed(run))
    finally:
        ours.close()
        team.close()
    lab.note(f"{count} replies; {KOMBU} acknowledges nothing and resolves nothing")


def _fill(lab: BrokerLab, task_ids: list[str], size: int, queue: str) -> None:
    lab.publisher.prepare(task_ids, size, [queue])
    lab.publisher.flood()
    lab.publisher.sent()


def _ours(lab: BrokerLab, ours: OursByReply, count: int, size: int) -> float:
    task_ids, first = new_ids(count), str(uuid.uuid4())
    held, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        go.wait()

    futures = ours.watcher.watch_many(task_ids)
    ours.watcher.watch(first).add_done_callback(hold)
    try:
        _fill(lab, [first], size, ours.queues[0])
        if not held.wait(PATIENCE):
            raise RuntimeError("the first reply did not come")
        _fill(lab, task_ids, size, ours.queues[0])
        with lab.measuring():
            started = time.monotonic()
            go.set()
            # Replies come in the order in which they were sent.
            futures[-1].result(PATIENCE)
            seconds = time.monotonic() - started
    finally:
        go.set()
    if not all(future.done() for future in futures):
        raise RuntimeError("the last reply has come, and others have not")
    return seconds


def _kombu(lab: BrokerLab, count: int, size: int) -> float:
    name = f"bgresults.benchmark.{uuid.uuid4().hex}"
    seen = 0

    def count_one(_body: Any, _message: Any) -> None:
        nonlocal seen
        seen += 1

    try:
        with _Connection(lab.url) as connection:
            channel = connection.channel()
            queue = _Queue(name, durable=True, expires=600)
            queue(channel).declare()
            _fill(lab, new_ids(count), size, name)
            consumer = _Consumer(
                channel, [queue], callbacks=[count_one], no_ack=True, auto_declare=False, accept=["json"]
            )
            with lab.measuring():
                started = time.monotonic()
                consumer.consume()
                while seen < count:
                    connection.drain_events(timeout=PATIENCE)
                seconds = time.monotonic() - started
    finally:
        delete_queues(lab.url, [name])
    return seconds
