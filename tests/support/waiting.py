"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(predicate: Callable[[], object], what: str, timeout: float = 10.0, *, interval: float = 0.01) -> None:
    """Poll until the predicate is true.

    Args:
        predicate: asked again and again, at least once.
        what: completes the sentence "waited N s for …".
        timeout: seconds.
        interval: seconds between two questions.

    Raises:
        AssertionError: it was still false at the end; names ``what``.
    """
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(interval)
