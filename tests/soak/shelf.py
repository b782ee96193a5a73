"""The watchers of the process under test: two for each backend, which are closed and opened anew now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from bgresults import AMQPOptions, RedisOptions, ResultWatcher, RetryPolicy, WatcherStats
from tests.soak.books import Account, Books
from tests.soak.orders import Backend

__all__ = ["Place", "Shelf", "make_watcher"]

Policy = Literal["wait", "fail"]

_RETRY = RetryPolicy(initial=0.02, maximum=0.5)
_REDIS = RedisOptions(health_check_interval=1.0, read_timeout=1.5)
# Room for unclaimed replies that is filled early: from then on memory has no reason to grow.
_AMQP = AMQPOptions(
    heartbeat=2, read_timeout=3.0, queue_expires=60, unclaimed_max=1000, unclaimed_max_bytes=2 * 1024 * 1024
)
_CLOSE_SECONDS = 30.0


def make_watcher(url: str, policy: Policy, name: str) -> ResultWatcher:
    """One that is quick to notice what is wrong, and to try again."""
    own: dict[str, Any] = {"amqp": _AMQP} if url.startswith("amqp") else {"redis": _REDIS}
    return ResultWatcher(url, on_disconnect=policy, retry=_RETRY, name=name, **own)


class Place:
    """Where one watcher stands, with the account of what its callers know of it."""

    def __init__(self, backend: Backend, policy: Policy, url: str) -> None:
        self.backend: Backend = backend
        self.policy: Policy = policy
        self._url = url
        self._opened = 0
        self.now = self._open()

    def _open(self) -> tuple[ResultWatcher, Account]:
        self._opened += 1
        name = f"{self.backend}-{self.policy}-{self._opened}"
        return make_watcher(self._url, self.policy, name), Account(name, self.policy == "wait")

    def exchange(self) -> tuple[ResultWatcher, Account]:
        """Put a new one here; return the old one, which is still open."""
        old, self.now = self.now, self._open()
        return old


class Shelf:
    """All places.

    Args:
        urls: of the two servers, as the watchers reach them.
        books: where contradictions go.
    """

    def __init__(self, urls: Mapping[Backend, str], books: Books) -> None:
        self.places = [Place(backend, policy, urls[backend]) for backend in urls for policy in _POLICIES]
        self._books = books
        self._lock = threading.Lock()
        # Accounts are complete when nobody works any more, which is later than the end of the watcher.
        self._closed: list[tuple[Account, WatcherStats]] = []

    def reopen(self, number: int) -> None:
        """Close a watcher that others are using, and put a new one in its place first."""
        self._close(*self.places[number % len(self.places)].exchange())

    def connected(self) -> bool:
        """Whether all are."""
        return all(place.now[0].connected for place in self.places)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Of the open ones, by name."""
        return {place.now[1].name: asdict(place.now[0].stats()) for place in self.places}

    def pending(self) -> int:
        """Futures, in all of them."""
        return sum(place.now[0].pending for place in self.places)

    def close(self) -> None:
        """Close all."""
        for place in self.places:
            self._close(*place.now)

    def totals(self) -> dict[str, int]:
        """The counters of all watchers that were closed, added up; tells the books where they contradict."""
        found: dict[str, int] = {}
        for account, stats in self._closed:
            for line in account.contradictions(stats):
                self._books.wrong(line)
            for name, value in asdict(stats).items():
                if isinstance(value, int) and not isinstance(value, bool):
                    found[name] = found.get(name, 0) + value
        return {**found, "watchers": len(self._closed)}

    def _close(self, watcher: ResultWatcher, account: Account) -> None:
        started = time.monotonic()
        watcher.close(timeout=_CLOSE_SECONDS)
        stats = watcher.stats()
        if stats.thread_alive:
            self._books.wrong(f"{account.name}: the thread is there {time.monotonic() - started:.0f} s after close()")
        with self._lock:
            self._closed.append((account, stats))


_POLICIES: tuple[Policy, ...] = ("wait", "fail")
