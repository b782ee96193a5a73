"""Something else happens between two lines of an operation, as another thread would do it, in one thread.

At lines where the operation holds a lock nothing happens: another thread could do nothing there that needs the lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.support.stops import LineTracer, Point

__all__ = ["at_line", "in_between"]


def at_line(tracer: LineTracer, number: int, act: Callable[[], object], locks: Callable[[], Iterable[Any]]) -> None:
    """Have ``act()`` called once at that line of the traced thread, or at the next one where it holds no lock.

    Args:
        tracer: traces the thread.
        number: of the line, counted from now on.
        act: must not raise.
        locks: re-entrant ones, asked for in the traced thread.
    """

    def at(_: Point) -> None:
        if any(lock._is_owned() for lock in locks()):
            tracer.arm(1, at)
        else:
            act()

    tracer.arm(number, at)


@contextlib.contextmanager
def in_between(number: int, act: Callable[[], object], locks: Callable[[], Iterable[Any]]) -> Iterator[None]:
    """Have ``act()`` called once in the middle of what the block calls, see :func:`at_line`.

    Not at all if that has not so many lines. What it raises is raised at the end.
    """
    tracer = LineTracer()
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    at_line(tracer, number, guarded, locks)
    try:
        with tracer.here():
            yield
    finally:
        tracer.disarm()
        if raised:
            raise raised[0]
