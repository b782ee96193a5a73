"""Timeouts that are kept, on a machine that may have other things to do for a second."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

__all__ = ["times_out_in_time"]

# How often a machine may have other things to do for a second, one time after the other.
_TRIES = 3


def times_out_in_time(future: Future[Any], timeout: float) -> bool:
    """Whether a wait in vain takes ``timeout`` seconds, and less than a second more, in one of three tries."""

    def waited() -> float:
        started = time.monotonic()
        with pytest.raises(FutureTimeoutError):
            future.result(timeout)
        taken = time.monotonic() - started
        assert taken >= timeout
        return taken

    return any(waited() < timeout + 1 for _ in range(_TRIES))
