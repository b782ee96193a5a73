"""Stopping one thread at one line of the library, or interrupting it there.

A trace function counts the lines of the library that a thread executes. At a chosen one the thread either stands still
while something else is done (:class:`Stop`), or a signal becomes pending (:class:`Interruption`). Run an operation once
to learn which lines it executes, then once for each of them, and no place between two lines has been left out.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import bgresults
from tests.support.frames import innermost_frame

__all__ = ["Interruption", "LineTracer", "Point", "Stop", "chosen", "distinct", "wait_unless_stuck"]

_PACKAGE = Path(bgresults.__file__).parent
_PATIENCE = 20.0
# A thread that has not moved for so long waits for something that only the stopped one can give.
_GRACE = 0.015


class Point(NamedTuple):
    """One line that was executed."""

    number: int
    code: CodeType
    line: int

    def __str__(self) -> str:
        file = Path(self.code.co_filename).name
        return f"line {self.number} of the operation, {file}:{self.line} in {self.code.co_name}()"


class LineTracer:
    """Counts the lines of the library that one thread executes. Silent until it is armed.

    Args:
        packages: folders of code whose lines count.
    """

    def __init__(self, *packages: Path) -> None:
        self._prefixes = tuple(f"{folder}/" for folder in packages or (_PACKAGE,))
        self._ours: dict[CodeType, bool] = {}
        self._counting = False
        self._number = 0
        self._at: Callable[[Point], None] | None = None
        self._fuse: Any = _NO_FUSE
        self.points: list[Point] = []

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Trace the calling thread meanwhile: what it calls, not what it is in already."""
        previous = sys.gettrace()
        sys.settrace(self.on_call)
        try:
            yield
        finally:
            sys.settrace(previous)

    @contextlib.contextmanager
    def new_threads(self) -> Iterator[None]:
        """Trace the threads that are started meanwhile, for all their life."""
        previous = threading.gettrace()
        threading.settrace(self.on_call)
        try:
            yield
        finally:
            threading.settrace(previous)

    def arm(self, number: int = 0, at: Callable[[Point], None] | None = None, fuse: Any = None) -> None:
        """Count from now on; at the ``number``-th line call ``at``, in the traced thread, and stop counting."""
        self.points = []
        self._number, self._at, self._fuse = number, at, _NO_FUSE if fuse is None else fuse
        self._counting = True

    def disarm(self) -> list[Point]:
        """Count no more; return what was counted."""
        self._counting = False
        return self.points

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        """The trace function."""
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(self._prefixes)
        return self._on_line if ours else None

    def _on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self._counting:
            points = self.points
            points.append(Point(len(points) + 1, frame.f_code, frame.f_lineno))
            if len(points) == self._number:
                self._counting = False
                if self._at is not None:
                    self._at(points[-1])
                # The last thing that happens here; see _Fuse.
                _ = self._fuse.blow
        return self._on_line


class Stop:
    """The thread of ``tracer`` stands still at its ``number``-th line until another thread has acted.

    What that other thread does may need a lock that the stopped one holds. Then the stopped one gives way: it goes on
    once the other has not moved for a moment.
    """

    def __init__(self, tracer: LineTracer, number: int) -> None:
        self.point: Point | None = None
        self.gave_way = False
        self._standing, self._acting, self._go = threading.Event(), threading.Event(), threading.Event()
        self._still = threading.Event()
        self._actor = 0
        self._tracer = tracer
        tracer.arm(number, self._stand)

    def reached(self, over: Callable[[], object], timeout: float = _PATIENCE) -> bool:
        """Wait until the thread stands there; False as soon as ``over()`` says that it will not come by any more."""
        deadline = time.monotonic() + timeout
        while not self._standing.wait(0.001):
            if over():
                # It may have come by in between.
                self._tracer.disarm()
                return self._standing.is_set()
            assert time.monotonic() < deadline, f"the operation did not end within {timeout:g} s"
        return True

    def perform(self, action: Callable[[], Any]) -> Any:
        """Act, while the other thread stands."""
        self._actor = threading.get_ident()
        self._acting.set()
        try:
            return action()
        finally:
            self.let_go()

    def hold_still(self) -> None:
        """Sleep until the end: for an action that needs no lock of the stopped thread, and wants nobody awake."""
        self._still.set()

    def let_go(self) -> None:
        """What was to happen while the thread stood has happened."""
        self._go.set()

    def _stand(self, point: Point) -> None:
        self.point = point
        self._standing.set()
        self._acting.wait(_PATIENCE)
        self.gave_way = not wait_unless_stuck(self._go, self._actor, self._still)


def wait_unless_stuck(event: threading.Event, thread: int, still: threading.Event | None = None) -> bool:
    """Wait for an event; False if the thread that is to bring it about, by its ident, does not move any more.

    Once ``still`` is set it is waited for without looking.
    """
    last, since = None, time.monotonic()
    while not event.wait(0.001):
        if still is not None and still.is_set():
            return event.wait(_PATIENCE)
        frame = innermost_frame(thread)
        place = None if frame is None else (id(frame), frame.f_lasti)
        # A frame keeps everything alive that its function knows.
        del frame
        if place != last:
            last, since = place, time.monotonic()
        elif time.monotonic() - since >= _GRACE:
            return False
    return True


class _Fuse:
    """``fuse.blow`` makes the signal pending.

    Python handles signals after calls and at jumps backwards. A trace function that called something to raise the
    signal would get to handle it itself, in places where no signal is ever handled. This is no call, but an attribute
    whose getter is written in C; ctypes takes the instance, which is its one argument, for the number.
    """

    _as_parameter_ = int(signal.SIGUSR2)
    blow = property(ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int)(("PyErr_SetInterruptEx", ctypes.pythonapi)))


class _NoFuse:
    blow = None


_NO_FUSE = _NoFuse()


class Interruption:
    """A signal comes while the main thread executes the ``number``-th line of the library in the ``with`` block.

    Python handles it where it handles every signal: after the next call, at the next jump backwards.

    Args:
        tracer: traces the main thread.
        number: of the line.
        handler: called once at most.
    """

    def __init__(self, tracer: LineTracer, number: int, handler: Callable[[], object]) -> None:
        self.point: Point | None = None
        self.handled = False
        self._tracer = tracer
        self._number = number
        self._handler = handler

    def __enter__(self) -> Interruption:
        self._previous = signal.signal(signal.SIGUSR2, self._handle)
        self._tracer.arm(self._number, self._strike, _Fuse())
        return self

    def __exit__(self, *_: object) -> None:
        # Python handles what is pending before this call begins.
        self._tracer.disarm()
        signal.signal(signal.SIGUSR2, self._previous)

    def _strike(self, point: Point) -> None:
        self.point = point
        # Nothing is traced from here on: the next call of the trace function would be the place where the signal is
        # handled.
        sys.settrace(None)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.handled:
            self.handled = True
            self._handler()


def chosen(points: list[Point], step: int, offset: int) -> list[int]:
    """The numbers of every ``step``-th point, and of the first one at each line that is executed under a lock."""
    numbers = {point.number for point in points if point.number % step == offset % step}
    seen: set[tuple[str, int]] = set()
    for point in points:
        place = (point.code.co_filename, point.line)
        if place not in seen and point.line in _locked_lines(place[0]):
            numbers.add(point.number)
        seen.add(place)
    return sorted(numbers)


def distinct(points: list[Point], times: int = 2) -> list[int]:
    """The numbers of the first few points at each line: what a loop does for the tenth time it did before."""
    seen: Counter[tuple[CodeType, int]] = Counter()
    numbers = []
    for point in points:
        seen[point.code, point.line] += 1
        if seen[point.code, point.line] <= times:
            numbers.append(point.number)
    return numbers


_A_LOCK = re.compile(r"lock|condition|starting|closing")
_locked: dict[str, frozenset[int]] = {}


def _locked_lines(file: str) -> frozenset[int]:
    """The lines of a file that are inside a ``with`` statement for something that is called like a lock."""
    if file not in _locked:
        blocks = [
            node
            for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8")))
            if isinstance(node, ast.With) and any(_A_LOCK.search(ast.unparse(item.context_expr)) for item in node.items)
        ]
        _locked[file] = frozenset(
            line for block in blocks for line in range(block.lineno, (block.end_lineno or block.lineno) + 1)
        )
    return _locked[file]
