"""Whether a drain thread keeps up: it is asked something, and what has arrived and was not read yet is measured."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from bgresults.forking import knows_its_threads
from bgresults.latch import Latch
from bgresults.session import Command, Session, State

__all__ = ["Question"]

# Frames of a stack, the innermost ones.
_DEEPEST = 12


class Question:
    """Put to a drain thread when it is made. Any thread makes it; that one is not asked."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._answered_at: float | None = None
        self._told = Latch()
        self._asked_at = time.monotonic()
        self._asked = session.state is State.DRAINING and not session.on_drain_thread()
        if self._asked:
            session.tell(Command.CATCH_UP, self._answer)

    def pace(self, deadline: float) -> dict[str, Any]:
        """Wait for the answer until ``deadline``, on the clock of ``time.monotonic``.

        Returns:
            ``answered_in``: seconds until it answered. Where a broker says so, that is when all that was in the reply
            queue has been passed on. None if it did not answer, or was not asked, since it is not connected.
            ``unread_bytes``: what the operating system holds for it; None where that cannot be known.
            ``connections``: the addresses of its own ends, which ``CLIENT LIST`` and ``ss`` show as well.
            ``at``: where the thread was when it did not answer, innermost first; else None.
        """
        session = self.session
        if self._asked:
            self._told.wait(max(0.0, deadline - time.monotonic()))
        answered_at = self._answered_at
        # One that has lost its connection meanwhile is not late.
        late = self._asked and answered_at is None and session.state is State.DRAINING
        sockets = _sockets(session)
        unread = [_unread(sock) for sock in sockets]
        return {
            "asked": late or answered_at is not None,
            "answered_in": None if answered_at is None else answered_at - self._asked_at,
            "unread_bytes": None if None in unread else sum(size for size in unread if size is not None),
            "connections": [name for sock in sockets if (name := _name(sock))],
            "at": _stack(session.thread_ident) if late else None,
        }

    def _answer(self, _why: object) -> None:
        self._answered_at = time.monotonic()
        self._told.set()


def _sockets(session: Session) -> list[socket.socket]:
    consumer: Any = session.consumer
    opener = getattr(consumer, "_connector", None) or getattr(consumer, "_opener", None)
    return [] if opener is None else [sock for sock in opener.sockets.all() if sock.fileno() >= 0]


def _unread(sock: socket.socket) -> int | None:
    try:
        import fcntl
        import termios
    except ImportError:
        # There is no such thing on Windows.
        return None
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0")
    except (OSError, ValueError):
        # It was closed at this moment.
        return 0
    return int.from_bytes(answer, sys.byteorder)


def _name(sock: socket.socket) -> str | None:
    try:
        name = sock.getsockname()
    except OSError:
        return None
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else None


def _stack(ident: int | None) -> list[str]:
    """Innermost first. Of what is called by this library, such as a callback, without what this library does there."""
    frame = sys._current_frames().get(ident) if ident is not None and knows_its_threads() else None
    lines: list[str] = []
    elsewhere = False
    while frame is not None and len(lines) < _DEEPEST:
        ours = str(frame.f_globals.get("__name__", "")).startswith("bgresults.")
        if ours and elsewhere:
            break
        elsewhere = elsewhere or not ours
        code = frame.f_code
        lines.append(f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}()")
        frame = frame.f_back
    return lines
