""":class:`WatcherState`: the part of a watcher that says how it is doing."""

from __future__ import annotations

from bgresults.errors import BackendUnavailableError
from bgresults.future_maker import FutureMaker
from bgresults.health import WatcherHealth, health_of
from bgresults.readiness import wait_until_ready
from bgresults.session_holder import closed_error
from bgresults.stats import WatcherStats

__all__ = ["WatcherState"]


class WatcherState(FutureMaker):
    """Answers questions about the session of this process. Any thread."""

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Start the thread if need be and wait until it is connected; False if ``timeout`` seconds were not enough.

        Raises:
            BackendUnavailableError: the backend refuses for good, or was given up on.
            WatcherClosedError: the watcher is closed.
            WouldDeadlockError: called on the drain thread while not connected.
        """
        session = self._session_here()
        try:
            return wait_until_ready(session, timeout)
        except BackendUnavailableError:
            if session.over:
                # The thread died. This call says so; the next one finds a session that works.
                self._replace(session)
            raise

    def stats(self) -> WatcherStats:
        """Return a snapshot of the counters of this process."""
        return self._session_here().stats()

    def health(self) -> WatcherHealth:
        """Return how the watcher is doing in this process; starts nothing, waits for nothing, and never raises."""
        return health_of(self._session_here())

    @property
    def pending(self) -> int:
        """How many futures wait now. A future leaves before it is finished; a dropped one a moment after."""
        return len(self._session_here().pending)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self.stats().connected

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        ended = self._session_here().ended
        return ended is closed_error

    def __repr__(self) -> str:
        session = self._session_here()
        return (
            f"<{type(self).__name__} {self._settings.address} name={self._settings.name!r} "
            f"state={session.state.value} pending={len(session.pending)}>"
        )
