"""Calls that block, and where their threads are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.frames import innermost_frame
from tests.support.waiting import wait_until

__all__ = ["Caller", "until_in"]


class Caller:
    """Calls a function in a thread of its own and keeps what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    def outcome(self, timeout: float = 20.0) -> Any:
        """Return what the function returned, or raise what it raised."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), f"the call did not end within {timeout:g} s"
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._value

    def until_blocked(self) -> None:
        """Return once the thread sleeps on a condition."""
        until_in(self.thread, "wait")


def until_in(thread: threading.Thread, function: str) -> None:
    """Return once the innermost Python function of ``thread`` is ``function``."""

    def there() -> bool:
        frame = innermost_frame(thread.ident)
        return frame is not None and frame.f_code.co_name == function

    wait_until(there, f"{thread.name} to be in {function}()")
