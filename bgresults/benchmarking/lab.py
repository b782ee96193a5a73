"""Where a question is measured: the server, the publisher, the rounds and the records."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.senders import RedisAddress
from bgresults.testing.servers import LOOPBACK, RedisServer

__all__ = ["BODY_SIZES", "AnyLab", "Lab", "open_lab"]

Item = TypeVar("Item")

#: Bytes of a stored state.
BODY_SIZES = {"200 B": 200, "4 KiB": 4096}


class AnyLab:
    """Everything that the measuring of one question needs, whatever the server is.

    Args:
        publisher: connected to the server.
        rounds: how often everything is measured.
        quick: whether rough figures are enough.
        say: told what is going on.

    Attributes:
        records: metric → contender → one value per round.
        notes: what a reader of the table should know.
    """

    def __init__(self, publisher: Publisher, *, rounds: int, quick: bool, say: Callable[[str], None]) -> None:
        self.publisher = publisher
        self.quick = quick
        self.records: dict[str, dict[str, list[float]]] = {}
        self.notes: list[str] = []
        self._rounds = rounds
        self._say = say

    def size(self, full: int, quick: int | None = None) -> int:
        """How much work: ``full``, or ``quick`` (a quarter unless given) where rough figures are enough."""
        return (quick or max(1, full // 4)) if self.quick else full

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds. The server is empty at the start of each."""
        for number in range(self._rounds):
            self._say(f"round {number + 1} of {self._rounds}")
            self._empty()
            yield number

    def _empty(self) -> None:
        """Rid the server of what the round before has left."""

    @staticmethod
    def in_turn(contenders: Sequence[Item], round_number: int) -> list[Item]:
        """The contenders in the order of this round: each is first, and each follows another one, equally often."""
        start = round_number % len(contenders)
        return [*contenders[start:], *contenders[:start]]

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Around what is timed. Collected and frozen: one full collection of the imported heap takes 20 ms and more.

        The collector stays on, as it is in an application; it has only the benchmark's own objects to look at.
        """
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()

    def record(self, metric: str, contender: str, value: float) -> None:
        """Write down one value of one round, in the question's unit."""
        self.records.setdefault(metric, {}).setdefault(contender, []).append(value)

    def note(self, text: str) -> None:
        """Add a line below the table, once."""
        if text not in self.notes:
            self.notes.append(text)


class Lab(AnyLab):
    """With a Redis.

    Args:
        server: nobody else uses it.
        publisher, settings: see :class:`AnyLab`.
    """

    def __init__(self, server: RedisServer, publisher: Publisher, **settings: Any) -> None:
        super().__init__(publisher, **settings)
        self.server = server

    @property
    def url(self) -> str:
        """Of the result backend."""
        return self.server.url()

    def _empty(self) -> None:
        with self.server.client() as client:
            client.flushall()


@contextmanager
def open_lab(*, rounds: int, quick: bool, say: Callable[[str], None]) -> Iterator[Lab]:
    """A lab with a server and a publisher of its own.

    Raises:
        RuntimeError: there is no redis-server.
    """
    with RedisServer() as server, Publisher(RedisAddress(LOOPBACK, server.port)) as publisher:
        yield Lab(server, publisher, rounds=rounds, quick=quick, say=say)
