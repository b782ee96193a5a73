"""How many connections a process has to a server, as the kernel sees it: no client library can hide one."""

from __future__ import annotations

import os

__all__ = ["connections_to"]

_ESTABLISHED = "01"


def connections_to(port: int, pid: int | None = None) -> int | None:
    """Established TCP connections to ``port`` of any host; None where there is no /proc, or no such process.

    Args:
        port: of the server.
        pid: of the process whose connections are meant; None for this one.
    """
    process = f"/proc/{pid or 'self'}"
    try:
        with open(f"{process}/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        own = {_target(f"{process}/fd/{number}") for number in os.listdir(f"{process}/fd")}
    except OSError:
        return None
    # A set: the kernel may list a connection twice when the table changes while it is read.
    found = {
        row[9]
        for row in rows
        if row[3] == _ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port and f"socket:[{row[9]}]" in own
    }
    return len(found)


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        # Closed since it was listed.
        return ""
