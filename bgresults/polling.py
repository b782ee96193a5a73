"""Waiting for one descriptor."""

from __future__ import annotations

import math
import select
from typing import Protocol

__all__ = ["wait_readable"]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def wait_readable(source: _HasFileno, timeout: float) -> bool:
    """Wait at most ``timeout`` seconds, and at most an hour, until ``source`` can be read; return whether it can.

    ``poll`` where there is one: ``select`` refuses descriptors above 1023, and an epoll costs one of its own. Looked up
    at use, since gevent replaces it.
    """
    # poll() counts milliseconds in an int.
    timeout = min(max(0.0, timeout), 3600.0)
    if not hasattr(select, "poll"):
        return bool(select.select([source], [], [], timeout)[0])
    poller = select.poll()
    poller.register(source, select.POLLIN)
    return bool(poller.poll(math.ceil(timeout * 1000)))
