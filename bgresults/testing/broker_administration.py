"""What an administrator tells a running RabbitMQ node, and what happens to its clients then."""

from __future__ import annotations

import abc
import json
from typing import Any

__all__ = ["RabbitMQAdministration"]


class RabbitMQAdministration(abc.ABC):
    """Commands for a node that has a :meth:`control`; each takes a second or so."""

    @abc.abstractmethod
    def control(self, *words: str) -> str:
        """``rabbitmqctl``; returns what it printed.

        Raises:
            RuntimeError: it failed; in its own words.
        """

    def queues(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Queues whose names begin so → ``messages``, ``messages_unacknowledged``, ``consumers``."""
        columns = ("name", "messages", "messages_unacknowledged", "consumers")
        found: list[dict[str, Any]] = json.loads(self.control("list_queues", *columns, "--formatter", "json"))
        return {queue.pop("name"): queue for queue in found if queue["name"].startswith(prefix)}

    def delete_queue(self, name: str) -> None:
        """Delete a queue, and what is in it; its consumers are told."""
        self.control("delete_queue", name)

    def connections(self, name: str | None = None) -> list[str]:
        """What rabbitmqctl takes as the pid of each connection.

        Args:
            name: only those whose client calls itself so. A watcher's name is ``bgresults``.
        """
        lines = self.control("list_connections", "--no-table-headers", "pid", "client_properties").splitlines()
        wanted = "" if name is None else f'"connection_name","{name}"'
        return [line.partition("\t")[0] for line in lines if wanted in line]

    def close_connections(self, name: str | None = None) -> int:
        """Close connections as an administrator does, with a word to the client; return how many.

        Args:
            name: only those whose client calls itself so.
        """
        if name is None:
            found = len(self.connections())
            self.control("close_all_connections", "closed by an administrator")
            return found
        connections = self.connections(name)
        for connection in connections:
            self.control("close_connection", connection, "closed by an administrator")
        return len(connections)

    def memory_alarm(self, on: bool) -> None:
        """Have the node believe that its memory is full, so that it reads nothing more from publishers; or end that."""
        self.control("set_vm_memory_high_watermark", "0" if on else "0.9")
