"""What programs do with watchers, one thing after the other, at random."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from bgresults import BackendUnavailableError, ResultFuture, WatcherClosedError, WatchExpiredError
from tests.soak.following import PATIENCE, Follower, Watched, sees, tell
from tests.soak.orders import Order
from tests.soak.shelf import Place
from tests.support.results import new_id

__all__ = ["ACTIONS", "Actor"]

_MOST_IDS = 15
_ON_DRAIN_THREAD = "bgresults-"


class Actor:
    """One thread's means.

    Args:
        follower: writes the books.
        ask: gives an order to the workers.
        seed: of what it does.
        real_worker: whether there is a stock Celery worker.
    """

    def __init__(self, follower: Follower, ask: Callable[[Order], None], seed: str, *, real_worker: bool) -> None:
        self.follower = follower
        self.books = follower.books
        self.ask = ask
        self.random = random.Random(seed)
        self._real_worker = real_worker

    def order(self, place: Place, reply_to: str | None, **fields: Any) -> Order:
        """A task, of which ``fields`` say what is not left to chance."""
        kinds = {"value": 82.0, "states": 6.0, "failure": 5.0, "revoked": 2.0, "garbage": 2.0}
        if self._real_worker and place.backend == "redis":
            kinds["worker"] = 2.0
        chosen = {
            "kind": self.random.choices(list(kinds), list(kinds.values()))[0],
            "delay": self.random.choice((0.0, self.random.expovariate(30), self.random.uniform(0, 0.3))),
            "size": self.random.choices((50, 500, 4000, self.random.randint(50_000, 500_000)), (40, 45, 14.5, 0.5))[0],
            "persistent": self.random.random() < 0.8,
        }
        return Order(place.backend, new_id(), queue=reply_to, **{**chosen, **fields})

    def orders(self, place: Place, count: int | None = None, **fields: Any) -> tuple[Watched, list[Order]]:
        """The watcher that stands there, and some tasks for it; none if it has no reply queue yet, or no longer."""
        watched = place.now
        try:
            reply_to = watched[0].reply_to
        except (BackendUnavailableError, WatcherClosedError):
            self.books.count("no reply queue yet")
            return watched, []
        count = count or self.random.randint(1, _MOST_IDS)
        return watched, [self.order(place, reply_to, **fields) for _ in range(count)]

    def watch(self, watched: Watched, orders: list[Order], **options: Any) -> list[ResultFuture]:
        """Watch the ids, all at once or one by one; fewer than that if the watcher is closed in between."""
        (watcher, account), task_ids = watched, [order.task_id for order in orders]
        futures: list[ResultFuture] = []
        try:
            if self.random.random() < 0.5:
                futures = watcher.watch_many(task_ids, **options)
            else:
                for task_id in task_ids:
                    futures.append(watcher.watch(task_id, **options))
        except WatcherClosedError:
            self.books.count("closed before the watch")
        account.watches(len(futures))
        return futures

    def ask_all(self, orders: list[Order]) -> float:
        """Give the orders; returns when."""
        since = time.monotonic()
        for order in orders:
            self.ask(order)
        return since

    def follow_all(
        self,
        orders: list[Order],
        place: Place,
        watched: Watched,
        futures: list[ResultFuture],
        since: float,
    ) -> None:
        """Wait for one after the other."""
        self.books.expects(orders[: len(futures)])
        for order in orders[: len(futures)]:
            self.follower.follow(order, place, watched, futures.pop(0), since)


def wait(actor: Actor, place: Place) -> None:
    """Watch, then send; wait."""
    watched, orders = actor.orders(place)
    futures = actor.watch(watched, orders)
    actor.follow_all(orders, place, watched, futures, actor.ask_all(orders[: len(futures)]))


def wait_late(actor: Actor, place: Place) -> None:
    """Send, and watch when the result may be there already."""
    watched, orders = actor.orders(place)
    since = actor.ask_all(orders)
    time.sleep(actor.random.uniform(0, 0.05))
    actor.follow_all(orders, place, watched, actor.watch(watched, orders), since)


def again(actor: Actor, place: Place) -> None:
    """Two futures of one id, and a third one when they are done."""
    watched, orders = actor.orders(place, 1, persistent=True)
    futures = actor.watch(watched, orders * 2)
    actor.follow_all(orders * 2, place, watched, futures, actor.ask_all(orders[: len(futures)]))
    actor.follow_all(orders, place, watched, actor.watch(watched, orders), time.monotonic())


def callbacks(actor: Actor, place: Place) -> None:
    """Nobody has the futures any more; some callbacks raise, some take their time."""
    watched, orders = actor.orders(place, persistent=True)
    futures = actor.watch(watched, orders)
    expected = {order.task_id: order for order in orders[: len(futures)]}
    actor.books.expects(expected.values())
    ended: queue.SimpleQueue[ResultFuture] = queue.SimpleQueue()

    def fail(_: Any) -> None:
        if threading.current_thread().name.startswith(_ON_DRAIN_THREAD):
            watched[1].raises()
        raise RuntimeError("a callback of the soak")

    while futures:
        # From here on the callbacks are all that waits for it.
        _add_callbacks(futures.pop(), actor.random, fail, ended.put)
    since = actor.ask_all(list(expected.values()))
    while expected:
        try:
            one = ended.get(timeout=PATIENCE)
        except queue.Empty:
            actor.books.wrong(f"callbacks that were not called: {list(expected.values())} at {watched[0]!r}")
            return
        actor.follower.follow(expected.pop(one.task_id), place, watched, one, since)


def _add_callbacks(
    future: ResultFuture, chance: random.Random, fail: Callable[[Any], object], tell_end: Callable[[Any], object]
) -> None:
    if chance.random() < 0.1:
        future.add_done_callback(fail)
    if chance.random() < 0.02:
        future.add_done_callback(lambda _: time.sleep(0.05))
    future.add_done_callback(tell_end)


def drop(actor: Actor, place: Place) -> None:
    """Watch, and forget; some results come all the same."""
    watched, orders = actor.orders(place)
    futures = actor.watch(watched, orders)
    actor.ask_all(orders[: len(futures) // 2])
    actor.books.count("futures dropped", len(futures))


def cancel(actor: Actor, place: Place) -> None:
    """Some of them, while their results are on their way."""
    watched, orders = actor.orders(place, delay=0.002)
    futures = actor.watch(watched, orders)
    kept = orders[: len(futures)]
    since = actor.ask_all(kept)
    for order, future in zip(kept, futures, strict=True):
        if actor.random.random() < 0.7 and future.cancel():
            watched[1].sees("cancelled")
            actor.books.count("futures cancelled")
        else:
            actor.follower.follow(order, place, watched, future, since)


def expire(actor: Actor, place: Place) -> None:
    """Tasks that never end."""
    watched, orders = actor.orders(place, 3)
    for future in actor.watch(watched, orders, lifetime=actor.random.uniform(0.02, 0.3)):
        outcome = tell(future, PATIENCE)
        if isinstance(outcome, WatchExpiredError):
            watched[1].sees("expired")
            actor.books.count("futures expired")
        elif isinstance(outcome, (WatcherClosedError, BackendUnavailableError)):
            sees(watched[1], outcome)
        else:
            actor.books.wrong(f"expected to expire, ended with {outcome!r} at {watched[0]!r}")


def impatient(actor: Actor, place: Place) -> None:
    """A timeout, then patience."""
    watched, orders = actor.orders(place, 1, delay=actor.random.uniform(0.0, 0.6))
    futures = actor.watch(watched, orders)
    since = actor.ask_all(orders[: len(futures)])
    for future in futures:
        timeout = actor.random.choice((0.0, 0.005, 0.05, 0.2))
        started = time.monotonic()
        tell(future, timeout)
        actor.books.timed_out(time.monotonic() - started - timeout)
    actor.follow_all(orders, place, watched, futures, since)


def updates(actor: Actor, place: Place) -> None:
    """The states of a task as they come, the final one last."""
    (watcher, account), orders = actor.orders(place, 1, kind="states", persistent=True)
    for order in orders:
        try:
            stream = watcher.updates(order.task_id, timeout=PATIENCE)
        except WatcherClosedError:
            return
        account.watches(1)
        actor.ask(order)
        status, outcome = None, None
        try:
            for meta in stream:
                status, outcome = meta.status, meta.result
        except BaseException as error:
            outcome = error.with_traceback(None)
        sees(account, outcome)
        if status == "SUCCESS" and order.is_right(outcome):
            actor.books.ends(order, "right")
        elif isinstance(outcome, WatcherClosedError) or (
            isinstance(outcome, BackendUnavailableError) and place.policy == "fail"
        ):
            actor.books.ends(order, "its stream ended with the watcher, or with the connection of one that fails fast")
        else:
            actor.books.ends(order, "WRONG")
            actor.books.wrong(f"wrong: the states of {order} ended with {status} and {outcome!r} at {watcher!r}")


#: How often each is done, in relation to the others.
ACTIONS: dict[Callable[[Actor, Place], None], float] = {
    wait: 50,
    wait_late: 10,
    again: 4,
    callbacks: 8,
    drop: 6,
    cancel: 6,
    expire: 5,
    impatient: 5,
    updates: 6,
}
