"""How many connections this process has to a server, as the kernel sees it: no client library can hide one."""

from __future__ import annotations

import os

__all__ = ["connections_to"]

_ESTABLISHED = "01"


def connections_to(port: int) -> int | None:
    """Established TCP connections of this process to ``port`` of any host; None where there is no /proc."""
    try:
        with open("/proc/self/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    own = set(map(_target, numbers))
    # A set: the kernel may list a connection twice when the table changes while it is read.
    found = {
        row[9]
        for row in rows
        if row[3] == _ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port and f"socket:[{row[9]}]" in own
    }
    return len(found)


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        # Closed since it was listed.
        return ""
