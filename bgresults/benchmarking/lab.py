"""Where a question is measured: the server, the publisher, the rounds and the records."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from bgresults.benchmarking.publisher import Publisher
from bgresults.testing.servers import LOOPBACK, RedisServer

__all__ = ["Lab"]

Item = TypeVar("Item")

#: Bytes of a stored state.
BODY_SIZES = {"200 B": 200, "4 KiB": 4096}


class Lab:
    """Everything that the measuring of one question needs.

    Args:
        server: nobody else uses it.
        publisher: connected to the server.
        rounds: how often everything is measured.
        quick: whether rough figures are enough.
        say: told what is going on.

    Attributes:
        records: metric → contender → one value per round.
        notes: what a reader of the table should know.
    """

    def __init__(
        self, server: RedisServer, publisher: Publisher, *, rounds: int, quick: bool, say: Callable[[str], None]
    ) -> None:
        self.server = server
        self.publisher = publisher
        self.quick = quick
        self.records: dict[str, dict[str, list[float]]] = {}
        self.notes: list[str] = []
        self._rounds = rounds
        self._say = say

    @property
    def url(self) -> str:
        """Of the result backend."""
        return self.server.url()

    def size(self, full: int, quick: int | None = None) -> int:
        """How much work: ``full``, or ``quick`` (a quarter unless given) where rough figures are enough."""
        return (quick or max(1, full // 4)) if self.quick else full

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds. The server is empty at the start of each."""
        for number in range(self._rounds):
            self._say(f"round {number + 1} of {self._rounds}")
            with self.server.client() as client:
                client.flushall()
            yield number

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


@contextmanager
def open_lab(*, rounds: int, quick: bool, say: Callable[[str], None]) -> Iterator[Lab]:
    """A lab with a server and a publisher of its own.

    Raises:
        RuntimeError: there is no redis-server.
    """
    with RedisServer() as server, Publisher(LOOPBACK, server.port) as publisher:
        yield Lab(server, publisher, rounds=rounds, quick=quick, say=say)
