""":func:`outages_told`: a command that waits says what it is waiting for, also where nobody has configured logging."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

__all__ = ["outages_told"]


@contextlib.contextmanager
def outages_told(stream: Any) -> Iterator[None]:
    """Write what watchers log of an outage, and of its end, to ``stream`` meanwhile.

    Does nothing where the application's own logging would say it. One thread at a time.

    Args:
        stream: has ``write()``.
    """
    logger = logging.getLogger("bgresults")
    if _is_heard(logger):
        yield
        return
    handler, level = logging.StreamHandler(stream), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _is_heard(logger: logging.Logger) -> bool:
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False
