"""Counting this process's own connections, also while the server that they lead to cannot be asked."""

from __future__ import annotations

import os

__all__ = ["connections"]


def connections(server_port: int) -> int:
    """How many TCP sockets of this process are connected, or connecting, to a local port."""
    own = _own_sockets()
    found = 0
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            fields = line.split()
            port = int(fields[2].rpartition(":")[2], 16)
            if port == server_port and f"socket:[{fields[9]}]" in own:
                found += 1
    return found


def _own_sockets() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # Closed since it was listed.
    return found
