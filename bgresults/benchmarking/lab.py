"""Where a question is measured: the server, the publisher, the rounds and the records."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict, TypeVar

from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.senders import RedisAddress
from bgresults.benchmarking.stolen import Disturbance
from bgresults.testing.servers import LOOPBACK, RedisServer

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BODY_SIZES", "AnyLab", "Lab", "Records", "Settings", "open_lab"]

Item = TypeVar("Item")

# Each time the confidence bound moves on by a place; see arithmetic.bound().
_MORE = 3
# Seconds after which there are no more rounds than were asked for, so that all questions together have an end.
_LONG = 150.0
# Seconds of a question after which nothing more is measured again because the host was busy with something else.
_AGAIN = 30.0

#: Bytes of a stored state.
BODY_SIZES = {"200 B": 200, "4 KiB": 4096}


Records = dict[str, dict[str, list[float]]]


class Settings(TypedDict):
    """How a question is asked; see :class:`AnyLab`."""

    rounds: int
    most: int
    settled: Callable[[Records], bool]
    quick: bool
    say: Callable[[str], None]


class AnyLab:
    """Everything that the measuring of one question needs, whatever the server is.

    Args:
        publisher: connected to the server.
        rounds: how often everything is measured at least.
        most: and at most, where these have not ``settled`` it, and have not taken long; asked again after every third
            round.
        settled: whether these records, of the metrics of these rounds, are enough to judge.
        quick: whether rough figures are enough.
        say: told what is going on.

    Attributes:
        records: metric → contender → one value per round.
        notes: what a reader of the table should know.
    """

    def __init__(self, publisher: Publisher, **settings: Unpack[Settings]) -> None:
        self.publisher = publisher
        self.quick = settings["quick"]
        self.records: Records = {}
        self.notes: list[str] = []
        self._rounds = settings["rounds"]
        self._most = settings["most"]
        self._settled = settings["settled"]
        # Metrics of the rounds that are going on: a question may have them several times over.
        self._fresh: set[str] = set()
        # Whether the host of this machine was busy with something else while something was measured in this round.
        self._disturbed = False
        # How often something was measured again for that, and the seconds of what does not count.
        self._again = 0
        self._discarded = 0.0
        self._say = settings["say"]

    def size(self, full: int, quick: int | None = None) -> int:
        """How much work: ``full``, or ``quick`` (a quarter unless given) where rough figures are enough."""
        return (quick or max(1, full // 4)) if self.quick else full

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds. The server is empty at the start of each.

        A round in which the host took processors away from this machine, outside of :meth:`undisturbed`, is measured
        again, whole, under its number.
        """
        self._fresh.clear()
        number, due, taken = 0, self._rounds, 0.0
        while number < due:
            self._say(f"round {number + 1} of {due}")
            self._empty()
            self._disturbed = False
            kept = self._lengths()
            began, discarded = time.monotonic(), self._discarded
            yield number
            if self._again_since(began):
                self._cut_back(kept)
                continue
            number += 1
            taken += time.monotonic() - began - (self._discarded - discarded)
            if (
                number == due < self._most
                and taken < _LONG
                and not self._settled({name: self.records[name] for name in self._fresh})
            ):
                due = min(due + _MORE, self._most)

    def undisturbed(self, measure: Callable[[], Item]) -> Item:
        """A part of a round. It alone is measured again if the host took processors away meanwhile.

        Args:
            measure: called once, or more often. What it returns the last time counts.
        """
        before = self._disturbed
        while True:
            self._disturbed, began = False, time.monotonic()
            result = measure()
            if not self._again_since(began):
                self._disturbed = before
                return result

    def _again_since(self, began: float) -> bool:
        """Whether what has gone on since then has to be measured again, and there is time for that."""
        if not self._disturbed or self.quick or self._discarded >= _AGAIN:
            return False
        self._discarded += time.monotonic() - began
        words = "measured again: the host took the processors away meanwhile"
        self.notes = [note for note in self.notes if not note.endswith(words)]
        self._again += 1
        self.note(f"{self._again} times something was {words}")
        return True

    def _lengths(self) -> dict[tuple[str, str], int]:
        """How many values there are."""
        return {
            (metric, contender): len(values)
            for metric, of_metric in self.records.items()
            for contender, values in of_metric.items()
        }

    def _cut_back(self, lengths: dict[tuple[str, str], int]) -> None:
        """Forget what was recorded since there were so many values."""
        for metric, of_metric in self.records.items():
            for contender, values in of_metric.items():
                del values[lengths.get((metric, contender), 0) :]

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
        disturbance, began = Disturbance(), time.monotonic()
        try:
            yield
        finally:
            self._disturbed = self._disturbed or disturbance.is_more_than_normal(time.monotonic() - began)
            gc.unfreeze()

    def record(self, metric: str, contender: str, value: float) -> None:
        """Write down one value of one round, in the question's unit."""
        self._fresh.add(metric)
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

    def __init__(self, server: RedisServer, publisher: Publisher, **settings: Unpack[Settings]) -> None:
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
def open_lab(**settings: Unpack[Settings]) -> Iterator[Lab]:
    """A lab with a server and a publisher of its own.

    Raises:
        RuntimeError: there is no redis-server.
    """
    with RedisServer() as server, Publisher(RedisAddress(LOOPBACK, server.port)) as publisher:
        yield Lab(server, publisher, **settings)
