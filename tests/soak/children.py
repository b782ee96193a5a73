"""Forked children of the process under test: they wait for results of their own, and end in their own ways."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from bgresults import ForkedError, ResultFuture
from tests.soak.actions import Actor
from tests.soak.books import Account, Books
from tests.soak.following import PATIENCE, Follower
from tests.soak.orders import Order
from tests.soak.shelf import Place, Shelf
from tests.support.results import new_id

__all__ = ["ENDS", "KILLED", "child_of"]

#: How a child ends: it closes its watchers, it just exits, or somebody kills it in the middle of a wait.
ENDS = ("closes", "exits", "killed")
#: The exit code of the last one.
KILLED = -signal.SIGKILL
_WAITS = 5


def child_of(
    shelf: Shelf, ask: Callable[[Order], None], inherited: list[ResultFuture], end: str, seed: int
) -> Callable[[Books], None]:
    """What a child does, with books of its own; it raises if anything is wrong.

    Args:
        shelf: the parent's watchers.
        ask: gives an order to the workers.
        inherited: pending futures of the parent.
        end: one of :data:`ENDS`.
        seed: of what is left to chance.
    """

    def live(books: Books) -> None:
        # All of it made there: whoever held a lock of the parent's did not come along.
        actor = Actor(Follower(books), ask, str(seed), real_worker=False)
        for place in shelf.places:
            place.now = (place.now[0], Account(f"child {os.getpid()} {place.now[1].name}", place.policy == "wait"))
        for future in inherited:
            error = future.exception(0)
            assert isinstance(error, ForkedError), f"{future!r} has {error!r}"
        actor.random.shuffle(shelf.places)
        for place in shelf.places:
            _wait_at(actor, place)
        assert not actor.books.wrongs, actor.books.wrongs
        if end == "killed":
            pending = [place.now[0].watch(new_id()) for place in shelf.places]
            assert not all(future.done() for future in pending)
            os.kill(os.getpid(), signal.SIGKILL)
        for place in shelf.places:
            watcher, account = place.now
            if end == "closes":
                watcher.close()
            contradictions = account.contradictions(watcher.stats())
            assert not contradictions, contradictions

    return live


def _wait_at(actor: Actor, place: Place) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        watched, orders = actor.orders(place, _WAITS, persistent=True)
        if orders:
            break
        assert time.monotonic() < deadline, f"no reply queue after {PATIENCE:g} s: {watched[0]!r}"
    actor.follow_all(orders, place, watched, actor.watch(watched, orders), actor.ask_all(orders))
