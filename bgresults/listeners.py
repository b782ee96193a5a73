""":class:`Listeners`: who wants to be told at once when a connection is lost, or is back."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Listeners"]


class Listeners:
    """Functions without arguments. Any thread adds and removes, the drain thread calls; nobody locks anything.

    What has happened, a listener finds out where it likes: it is only told to look. It has to be quick, and to raise
    nothing.
    """

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[], object]] = {}

    def add(self, listener: Callable[[], object]) -> object:
        """Have a function called from now on; returns what :meth:`remove` takes."""
        token = object()
        self._listeners[token] = listener
        return token

    def remove(self, token: object) -> None:
        """Call that function no more. Idempotent; may run in the garbage collector."""
        self._listeners.pop(token, None)

    def call(self) -> None:
        """Tell everybody."""
        # Of a copy, which is made in one step: they come and go meanwhile.
        for listener in self._listeners.copy().values():
            listener()
