"""The process that plays the workers: ``python -m tests.soak.publisher '{…}'``.

It takes one order per line from its standard input and writes what a stock worker would, over and over until the server
has confirmed it. It ends when there is nothing more to read and everything is written, and prints how much that was.
"""

from __future__ import annotations

import contextlib
import faulthandler
import heapq
import itertools
import json
import math
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import redis
from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import KombuError

from tests.soak.orders import Order
from tests.support.broker import ReplyWriter
from tests.support.tasks import make_app

__all__ = ["main"]

_HANDS = {"redis": 2, "rpc": 4}
_TTL = 600
_PAUSE = 0.1


class Desk:
    """Orders of one backend, each until it is due."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Order]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, order: Order) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + order.delay, next(self._numbers), order))
            self._changed.notify()

    def take(self) -> tuple[float, Order] | None:
        """The next one, when it is due, and since when it is; None when there will be no more."""
        with self._changed:
            while True:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    due, _, order = heapq.heappop(self._due)
                    return due, order
                if wait is None and self._closed:
                    return None
                self._changed.wait(wait)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Hand(Protocol):
    """A connection to one server."""

    def write(self, order: Order, body: bytes) -> None:
        """Write one state; raises until the server has it."""

    def drop(self) -> None:
        """Forget the connection."""


class RedisHand:
    """What a worker does: it never writes over a SUCCESS."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=10)

    def write(self, order: Order, body: bytes) -> None:
        key = f"celery-task-meta-{order.task_id}"
        stored: Any = self._client.get(key)
        if stored is not None and b'"status": "SUCCESS"' in stored[:100]:
            return
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.execute_command("SETEX", key, _TTL, body)
            pipeline.publish(key, body)
            pipeline.execute()

    def drop(self) -> None:
        self._client.close()


class ReplyHand:
    """Each reply is confirmed by the broker."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer: ReplyWriter | None = None

    def write(self, order: Order, body: bytes) -> None:
        if self._writer is None:
            self._writer = ReplyWriter(self._url)
        self._writer.write_raw(
            order.queue, body, correlation_id=order.task_id, delivery_mode=2 if order.persistent else 1
        )

    def drop(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()
            self._writer = None


class RealWorker:
    """Sends the task to a stock Celery worker, through a broker that nothing happens to."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._app = make_app({**settings, "result_backend": "disabled://"})

    def send(self, order: Order) -> None:
        self._app.send_task("echo", (order.value(time.monotonic()),), task_id=order.task_id)


class Office:
    """Desks and hands, and the books about what they did."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.written: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._desks = {backend: Desk() for backend in _HANDS}
        worker = settings.get("worker")
        self._worker = RealWorker(worker) if worker else None
        makers: dict[str, Callable[[], Hand]] = {
            "redis": lambda: RedisHand(settings["redis_port"]),
            "rpc": lambda: ReplyHand(settings["amqp_url"]),
        }
        self._threads = [
            threading.Thread(target=self._work, args=(self._desks[backend], makers[backend]()), daemon=True)
            for backend, count in _HANDS.items()
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, order: Order) -> None:
        self._desks[order.backend].put(order)

    def finish(self) -> None:
        """Return when everything is written."""
        for desk in self._desks.values():
            desk.close()
        for thread in self._threads:
            thread.join()

    def _work(self, desk: Desk, hand: Hand) -> None:
        while (taken := desk.take()) is not None:
            due, order = taken
            if order.kind == "worker" and self._worker is not None:
                self._worker.send(order)
                self._count(f"{order.backend} sent to a worker")
            else:
                self._carry_out(order, hand)
                self._count(f"{order.backend} written")
                self._was_late(order, time.monotonic() - due)
        hand.drop()

    def _carry_out(self, order: Order, hand: Hand) -> None:
        count = sum(1 for _ in order.states(0.0))
        for place in range(count):
            while True:
                body = next(itertools.islice(order.states(time.monotonic()), place, None))
                try:
                    hand.write(order, body)
                    break
                except (OSError, redis.RedisError, AMQPError, MessageNacked, KombuError):
                    self._count(f"{order.backend} tried again")
                    hand.drop()
                    time.sleep(_PAUSE)

    def _was_late(self, order: Order, seconds: float) -> None:
        """What nobody had written when somebody stopped waiting for it was not lost by whoever waited."""
        name = f"{order.backend} seconds until written, at most"
        with self._lock:
            self.written[name] = max(self.written[name], math.ceil(seconds))

    def _count(self, what: str) -> None:
        with self._lock:
            self.written[what] += 1


def main(settings: dict[str, Any]) -> None:
    """Until standard input ends."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(settings["limit"], exit=True)
    # A Ctrl-C in the terminal is the driver's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    office = Office(settings)
    for line in sys.stdin.buffer:
        office.put(Order.of_line(line))
    office.finish()
    print(json.dumps(office.written), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
