"""What both kinds of streams need of a watcher, besides the states of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bgresults.watcher import ResultWatcher

__all__ = ["MOST_WAITING", "Connection", "checked_watcher"]

#: States that may wait until a slow client has taken those before; of more the oldest are left out.
MOST_WAITING: Final = 100


def checked_watcher(watcher: ResultWatcher) -> ResultWatcher:
    """Raise TypeError unless it is one, or stands for one, as Django's ``watcher`` does."""
    if not callable(getattr(watcher, "watch", None)) or not callable(getattr(watcher, "_session_here", None)):
        raise TypeError(f"watcher must be a ResultWatcher, not {type(watcher).__name__}")
    return watcher


class Connection:
    """A watcher's connection to its backend, as one stream sees it. Calls ``when_changed`` when it comes or goes."""

    # Until there is something to forget.
    _token: object = None

    def __init__(self, watcher: ResultWatcher, when_changed: Callable[[], None]) -> None:
        self._session = watcher._session_here()
        # First of all: whatever happens after this is told.
        self._token = self._session.outage_listeners.add(when_changed)

    @property
    def is_there(self) -> bool:
        """Whether there is no outage. Before the first attempt to connect there is none."""
        return self._session.outage_since is None

    def forget(self) -> None:
        """Call nobody any more. Idempotent, from any thread, also in the garbage collector."""
        if self._token is not None:
            self._session.outage_listeners.remove(self._token)

    def __del__(self) -> None:
        self.forget()
