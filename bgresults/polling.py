"""Waiting for one descriptor."""

from __future__ import annotations

import math
import select
from typing import Protocol

__all__ = ["wait_readable", "wait_writable"]


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
    return _polled(source, select.POLLIN, timeout)


def wait_writable(source: _HasFileno, timeout: float) -> bool:
    """As :func:`wait_readable`, until ``source`` can be written to."""
    timeout = min(max(0.0, timeout), 3600.0)
    if not hasattr(select, "poll"):
        return bool(select.select([], [source], [], timeout)[1])
    return _polled(source, select.POLLOUT, timeout)


def _polled(source: _HasFileno, event: int, timeout: float) -> bool:
    poller = select.poll()
    poller.register(source, event)
    return bool(poller.poll(math.ceil(timeout * 1000)))
