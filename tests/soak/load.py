"""The threads of the process under test."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tests.soak.actions import ACTIONS, Actor
from tests.soak.following import Follower
from tests.soak.gate import Gate
from tests.soak.orders import Order
from tests.soak.shelf import Shelf

__all__ = ["Load"]


class Load:
    """Threads that do one thing after the other with the watchers of a shelf, from :meth:`start` to :meth:`stop`.

    Args:
        shelf: their watchers.
        follower: writes the books.
        ask: gives an order to the workers.
        seed: of what they do.
        threads: how many there are.
        pause: seconds between two things, in the mean.
        real_worker: whether there is a stock Celery worker.
    """

    def __init__(
        self,
        shelf: Shelf,
        follower: Follower,
        ask: Callable[[Order], None],
        *,
        seed: int,
        threads: int,
        pause: float,
        real_worker: bool,
    ) -> None:
        self.gate = Gate(threads)
        self._shelf = shelf
        self._books = follower.books
        self._pause = pause
        self._over = False
        actors = [Actor(follower, ask, f"{seed} {number}", real_worker=real_worker) for number in range(threads)]
        self._threads = [threading.Thread(target=self._live, args=(actor,), daemon=True) for actor in actors]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when each has ended what it was at."""
        self._over = True
        for thread in self._threads:
            thread.join()

    def _live(self, actor: Actor) -> None:
        chance: random.Random = actor.random
        actions, weights = list(ACTIONS), list(ACTIONS.values())
        try:
            while not self._over:
                self.gate.pass_through()
                action = chance.choices(actions, weights)[0]
                action(actor, chance.choice(self._shelf.places))
                self._books.count(f"did {action.__name__}")
                time.sleep(chance.expovariate(1 / self._pause))
        except BaseException as error:
            self._books.wrong(f"a thread of the load died of {error!r}")
            # The others must not wait for it at the gate for ever, and whoever reads the log wants to know where.
            raise
