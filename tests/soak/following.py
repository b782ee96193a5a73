"""Waiting for one id until it has come to the end that it must come to."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError

from bgresults import BackendUnavailableError, ResultFuture, ResultWatcher, WatcherClosedError
from tests.soak.books import Account, Books
from tests.soak.orders import Order
from tests.soak.shelf import Place

__all__ = ["PATIENCE", "Follower", "Watched", "sees", "tell"]

#: A watcher, and what its callers know of it.
Watched = tuple[ResultWatcher, Account]


#: Seconds after which what should have come is lost.
PATIENCE = 60.0
_LOOK = 1.0
_PAUSE = 0.1
# Seconds after which nobody waits any longer for what a restart of the broker may have taken.
_UNTIL_GIVEN_UP = 5.0


def sees(account: Account, outcome: object) -> None:
    """Note how a future ended."""
    account.sees("error" if isinstance(outcome, BaseException) else "value")


def tell(future: ResultFuture, timeout: float) -> object:
    """What ``result(timeout)`` returned or raised; a TimeoutError says nothing if the future is done."""
    try:
        return future.result(timeout)
    except BaseException as error:
        # Kept longer than this call, its traceback would keep the future.
        return error.with_traceback(None)


class Follower:
    """Follows ids to their ends, whatever their watchers go through, and writes the books.

    Args:
        books: of this process.
    """

    def __init__(self, books: Books) -> None:
        self.books = books

    def follow(self, order: Order, place: Place, watched: Watched, future: ResultFuture, since: float) -> None:
        """Wait for an id, and watch it again as often as the policy of its watcher or the end of that one asks for.

        Args:
            order: the truth about it.
            place: where its watcher stands, or stood.
            watched: that watcher and its account.
            future: of the id.
            since: when it was asked for, on the clock of ``time.monotonic``.
        """
        first = future
        while (outcome := self._wait(order, watched, future, since)) is not None:
            if order.is_right(outcome):
                if future is first and isinstance(outcome, dict):
                    self.books.took(order, outcome)
                self.books.ends(order, "right" if future is first else "right, watched again")
                return
            again = self._again(order, place, watched, outcome)
            if again is None:
                return
            watched, future = again

    def _wait(self, order: Order, watched: Watched, future: ResultFuture, since: float) -> object | None:
        """How the future ended; None if it did not, which is in the books then."""
        watcher, account = watched
        while True:
            outcome = tell(future, _LOOK)
            if not isinstance(outcome, FutureTimeoutError) or future.done():
                sees(account, outcome)
                return outcome
            waited = time.monotonic() - since
            why = self.books.why_lost(order, since) if waited > _UNTIL_GIVEN_UP else None
            if why is None and waited < PATIENCE:
                continue
            if not future.cancel():
                continue
            account.sees("cancelled")
            self.books.ends(order, why or "LOST")
            if why is None:
                self.books.wrong(f"lost after {waited:.0f} s: {order}, by {watcher!r}, {watcher.stats()}")
            return None

    def _again(
        self, order: Order, place: Place, watched: Watched, outcome: object
    ) -> tuple[Watched, ResultFuture] | None:
        """Watch an id again after it ended with an error of the library; None if it has no other end to come to."""
        if isinstance(outcome, WatcherClosedError):
            if order.backend == "rpc":
                self.books.ends(order, "its watcher was closed, and with it its reply queue")
                return None
            return self.watch_one(place, order.task_id)
        if isinstance(outcome, BackendUnavailableError) and place.policy == "fail":
            time.sleep(_PAUSE)
            if order.backend == "redis":
                return self.watch_one(place, order.task_id)
            watcher, account = watched
            try:
                future = watcher.watch(order.task_id)
            except WatcherClosedError as closed:
                return self._again(order, place, watched, closed)
            account.watches(1)
            return watched, future
        self.books.ends(order, "WRONG")
        self.books.wrong(f"wrong: {order} ended with {outcome!r} at {watched[0]!r}")
        return None

    def watch_one(self, place: Place, task_id: str) -> tuple[Watched, ResultFuture]:
        """Watch an id with whatever watcher stands there now."""
        while True:
            watcher, account = watched = place.now
            try:
                future = watcher.watch(task_id)
            except WatcherClosedError:
                # Another one has taken its place before it was closed.
                continue
            account.watches(1)
            return watched, future
