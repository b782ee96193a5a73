""":func:`checked_health`: the health of a watcher that was asked to connect, for probes and commands."""

from __future__ import annotations

import dataclasses
import time

from bgresults.errors import WatcherError
from bgresults.health import WatcherHealth
from bgresults.watcher import ResultWatcher

__all__ = ["checked_health"]

# Seconds. A watcher says when it is connected, and not when its first attempt has failed.
_LOOK_EVERY = 0.05


def checked_health(watcher: ResultWatcher, patience: float) -> WatcherHealth:
    """Start the watcher if need be, give its first connection ``patience`` seconds, and say how it is doing.

    One that has been connected before is not waited for. Settings that make no sense, which those of a Celery
    application show at the first use only, are an answer as well.
    """
    deadline = time.monotonic() + patience
    try:
        while (health := watcher.health()).healthy and health.state != "draining":
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            watcher.wait_ready(min(remaining, _LOOK_EVERY))
    except (WatcherError, TypeError, ValueError) as error:
        return dataclasses.replace(watcher.health(), healthy=False, last_error=str(error))
    return health
