"""Threads that stay, as those of a web server do, so that what they keep per thread is warm."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Team"]

Result = TypeVar("Result")


class Team:
    """A number of threads that do the same thing at the same time.

    Args:
        size: how many.
        name: of the threads.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._orders: list[queue.SimpleQueue[Callable[[], None] | None]] = [queue.SimpleQueue() for _ in range(size)]
        for number, orders in enumerate(self._orders):
            threading.Thread(target=_obey, args=(orders,), name=f"{name}-{number}", daemon=True).start()

    def start(self, work: Callable[[int], Result]) -> Callable[[], list[Result]]:
        """Have every thread do ``work(its number)``; return what waits for the end and returns the results in order.

        The waiting raises what the first of the threads raised.
        """
        done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()

        def run(number: int) -> None:
            try:
                done.put((number, work(number), None))
            except BaseException as error:  # noqa: BLE001 - passed on to the thread that waits
                done.put((number, None, error))

        for number, orders in enumerate(self._orders):
            orders.put(lambda number=number: run(number))  # type: ignore[misc]

        def wait() -> list[Result]:
            results: dict[int, Result] = {}
            for _ in self._orders:
                number, result, error = done.get()
                if error is not None:
                    raise error
                results[number] = result  # type: ignore[assignment]
            return [results[number] for number in sorted(results)]

        return wait

    def run(self, work: Callable[[int], Result]) -> list[Result]:
        """Have every thread do ``work(its number)``, and wait for all of them."""
        return self.start(work)()

    def close(self) -> None:
        """End the threads, without waiting for them."""
        for orders in self._orders:
            orders.put(None)


def _obey(orders: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (order := orders.get()) is not None:
        order()
        # The last order holds a round's results: not until the next one comes.
        del order
