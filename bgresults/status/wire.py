"""What goes over the socket: one line of JSON, from whoever is asked to whoever has connected."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

__all__ = ["receive", "send"]

# Seconds that somebody who has asked may take to read; meanwhile nobody else is answered.
_PATIENCE = 2.0
_CHUNK = 65536


def send(connection: socket.socket, status: dict[str, Any]) -> None:
    """Tell it.

    Raises:
        OSError: the other side does not listen.
    """
    connection.settimeout(_PATIENCE)
    connection.sendall(json.dumps(status, separators=(",", ":")).encode() + b"\n")


def receive(connection: socket.socket, timeout: float) -> dict[str, Any]:
    """Read it.

    Raises:
        OSError: nothing came within ``timeout`` seconds.
        ValueError: what came is something else.
    """
    deadline = time.monotonic() + timeout
    received = bytearray()
    # A child that was forked meanwhile may hold the connection open: its end is not what tells that this is all.
    while not received.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"no answer within {timeout:g} s")
        connection.settimeout(remaining)
        chunk = connection.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("no answer: it was closed")
        received += chunk
    status = json.loads(received)
    if not isinstance(status, dict):
        raise ValueError("the answer is no status")
    return status
