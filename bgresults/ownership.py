""":class:`FutureOwner`: what a pending future asks of the watcher that made it."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["FutureOwner"]


class FutureOwner(Protocol):
    """A pending future keeps its owner alive, and lets go of it when it ends.

    ``future`` is a :class:`~bgresults.futures.ResultFuture` everywhere, which this module lies below of; only for what
    keeps it alive, and lets go of it, it may be one of the values of several.
    """

    def _forget(self, future: Any) -> bool | None:
        """Take it out of the registry, to end it; whether it was there. Leaf lock only: its condition is held."""
        ...

    def _released(self, future: Any) -> None:
        """It was taken out: have the drain thread look. May be called twice."""

    def _pin(self, future: Any) -> None:
        """Keep it alive until it ends: somebody waits for it through a callback alone."""

    def _on_drain_thread(self) -> bool:
        """Whether the caller is the thread that would have to resolve it."""
        ...
