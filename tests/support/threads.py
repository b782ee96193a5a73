"""Running something in many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["in_threads"]


def in_threads(count: int, work: Callable[[int], Any], timeout: float = 30.0) -> list[Any]:
    """Run ``work(0)`` … ``work(count - 1)`` at once; return what each returned or raised.

    Raises:
        AssertionError: a thread was still at it after ``timeout`` seconds.
    """
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait(timeout)
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    stuck = sum(thread.is_alive() for thread in threads)
    assert not stuck, f"{stuck} of {count} threads are still at it after {timeout:g} s"
    return results
