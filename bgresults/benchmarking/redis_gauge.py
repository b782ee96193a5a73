"""What a Redis server says of its own costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bgresults.testing.servers import RedisServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RedisGauge", "Spent"]


@dataclass(frozen=True)
class Spent:
    """What the server has used so far; the difference of two is what it took in between.

    Attributes:
        memory: bytes that it has allocated (``used_memory``).
        seconds: of processor time.
        clients: connections that are open.
        calls: command → how often.
        busy: command → microseconds in which it was executed, without reading, parsing and writing.
    """

    memory: int
    seconds: float
    clients: int
    calls: dict[str, int]
    busy: dict[str, float]

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(
            self.memory - earlier.memory,
            self.seconds - earlier.seconds,
            self.clients - earlier.clients,
            {name: calls - earlier.calls.get(name, 0) for name, calls in self.calls.items()},
            {name: spent - earlier.busy.get(name, 0) for name, spent in self.busy.items()},
        )

    def called(self, *names: str) -> int:
        """How often these commands were called."""
        return sum(self.calls.get(name, 0) for name in names)


class RedisGauge:
    """A client that asks; it is one of the server's connections from first to last.

    Args:
        server: which.
    """

    def __init__(self, server: RedisServer) -> None:
        self.client = server.client(single_connection_client=True)

    def read(self) -> Spent:
        """``INFO``."""
        found: dict[str, Any] = self.client.info("all")
        commands = {name[len("cmdstat_") :]: each for name, each in found.items() if name.startswith("cmdstat_")}
        return Spent(
            memory=found["used_memory"],
            seconds=found["used_cpu_user"] + found["used_cpu_sys"],
            clients=found["connected_clients"],
            calls={name: each["calls"] for name, each in commands.items()},
            busy={name: each["usec"] for name, each in commands.items()},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
