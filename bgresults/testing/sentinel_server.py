""":class:`SentinelServer`: one sentinel, to be asked, killed and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bgresults.testing.servers import RedisServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SentinelServer"]

# Milliseconds between two looks of a sentinel, where it lets us say so (Redis 7): a failover takes a few of them. Pings
# are not among them: what a replica last said of itself counts for five of their periods.
_HASTE = ("info-period", 200, "publish-period", 200, "ask-period", 200, "min-link-reconnect-period", 500)


class SentinelServer(RedisServer):
    """One sentinel: everything that :class:`~bgresults.testing.RedisServer` can do, but it holds no data.

    Over a :meth:`~bgresults.testing.RedisServer.restart` it keeps what it knows.

    Args:
        lines: of its configuration, without the port, such as ``["sentinel monitor mymaster 127.0.0.1 6379 2"]``.
        settings: as those of :class:`~bgresults.testing.RedisServer`.
    """

    def __init__(self, lines: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._configuration = self._folder / "sentinel.conf"
        self._configuration.write_text("".join(f"{line}\n" for line in lines))

    def start(self) -> Self:
        super().start()
        if int(self.version.partition(".")[0]) >= 7:
            self.command("SENTINEL", "DEBUG", *_HASTE)
        return self

    def master(self, name: str) -> dict[str, Any]:
        """What it knows of a master, as redis-py gives it."""
        with self.client() as client:
            found: Any = client.sentinel_masters()
        state: dict[str, Any] = found[name]
        return state

    def _command(self, port: int, tls_port: int | None) -> list[str]:
        program, *settings = super()._command(port, tls_port)
        return [program, str(self._configuration), *settings, "--sentinel"]
