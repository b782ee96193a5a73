"""Counting this process's own connections, also while the server that they lead to cannot be asked."""

from __future__ import annotations

import os
import socket

__all__ = ["connections", "copies"]


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


def copies(server_port: int) -> list[socket.socket]:
    """Sockets that share a connection with one of this process's own to a TCP port: to look at, and to close."""
    found = []
    # Those that are there before the first copy is made: it may get the number that the listing itself had.
    for number in [int(name) for name in os.listdir("/proc/self/fd") if _is_socket(name)]:
        copy = _copy(number)
        if copy is None:
            continue
        if copy.family in (socket.AF_INET, socket.AF_INET6) and _peer_port(copy) == server_port:
            found.append(copy)
        else:
            copy.close()
    return found


def _copy(number: int) -> socket.socket | None:
    """None if another thread has closed it since it was listed, whatever has the number now."""
    try:
        duplicate = os.dup(number)
    except OSError:
        return None
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        return None


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:
        return False  # Closed since it was listed.


def _peer_port(sock: socket.socket) -> int | None:
    try:
        return int(sock.getpeername()[1])
    except OSError:
        return None


def _own_sockets() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # Closed since it was listed.
    return found
