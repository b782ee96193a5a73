"""What an administrator tells a running Redis server, and what happens to its clients then."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

__all__ = ["RedisAdministration"]


class RedisAdministration(abc.ABC):
    """Commands for a server that has a :meth:`client`; each goes over a connection of its own."""

    @abc.abstractmethod
    def client(self, **options: Any) -> redis.Redis:
        """A new client with a pool of its own, which the caller closes; answers are bytes."""

    def command(self, *words: str | int) -> Any:
        """Send one command; return the answer as redis-py gives it."""
        with self.client() as client:
            return client.execute_command(*words)

    def acl(self, *words: str) -> Any:
        """An ACL command, such as ``acl("SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")``.

        Connections of a user whose rights are taken away are cut by the server; a changed password cuts none.
        """
        return self.command("ACL", *words)

    def config(self, name: str, value: str | int) -> None:
        """``CONFIG SET``; gone after a restart."""
        self.command("CONFIG", "SET", name, value)

    def client_pause(self, milliseconds: int, mode: str = "ALL") -> None:
        """``CLIENT PAUSE``: no client gets an answer for that long, us included; connections stay.

        Args:
            mode: ``"ALL"``, or ``"WRITE"`` to stop only what writes (from Redis 6.2 on).
        """
        self.command("CLIENT", "PAUSE", milliseconds, mode)

    def client_kill(self, kind: str = "pubsub") -> int:
        """``CLIENT KILL TYPE``: cut all connections of a kind; return how many.

        Args:
            kind: ``"normal"``, ``"pubsub"``, ``"replica"`` or ``"master"``.
        """
        return int(self.command("CLIENT", "KILL", "TYPE", kind))

    def limit_output(self, kind: str, hard: int, soft: int = 0, seconds: int = 0) -> None:
        """Have the server cut a client that does not read.

        Args:
            kind: ``"normal"``, ``"pubsub"`` or ``"replica"``.
            hard: bytes that may wait for it at most; 0 means any number.
            soft, seconds: bytes that may wait for it for that many seconds.
        """
        self.config("client-output-buffer-limit", f"{kind} {hard} {soft} {seconds}")

    def channels(self, pattern: str = "*") -> set[str]:
        """The channels that somebody is subscribed to, of all databases."""
        return {bytes(channel).decode(errors="replace") for channel in self.command("PUBSUB", "CHANNELS", pattern)}

    def clients(self, kind: str = "normal") -> list[dict[str, str]]:
        """``CLIENT LIST TYPE``: what the server knows of each of its connections."""
        with self.client() as client:
            found: list[dict[str, str]] = client.client_list(_type=kind)
        return found

    def replication(self) -> dict[str, Any]:
        """``INFO replication``: the server's ``role``, and of a replica its ``master_link_status``."""
        with self.client() as client:
            found: dict[str, Any] = client.info("replication")
        return found

    def save(self) -> None:
        """Write everything to disk: what the next start of the server, and only that, will find."""
        self.command("SAVE")
