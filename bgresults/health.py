""":class:`WatcherHealth`: how a watcher is doing, for whoever looks after the process it is in."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from bgresults.session import Session, State

__all__ = ["WatcherHealth", "health_of"]

_OVER = (State.FAILED, State.CLOSING, State.CLOSED)


@dataclass(frozen=True)
class WatcherHealth:
    """A snapshot of one watcher in one process. No field has a password in it.

    Attributes:
        healthy: whether nothing is known to be wrong: it is connected, or is connecting for the first time, or has had
            no reason to connect yet.
        name: of the watcher.
        address: where the results are.
        state: as in :class:`~bgresults.WatcherStats`.
        connected: whether there is a connection now. Right after one was made, what happened meanwhile is still being
            caught up with, and ``healthy`` is false until that is done.
        since: when it became so, as Unix time in seconds: when the connection was made, when the outage began that is
            not over yet, or, before the first connection, when the watcher was made (in this process).
        pending: futures that wait now.
        oldest_pending: seconds since the first watch of the id that has been waited for longest; None if there is none.
            Up to a few seconds are missing while nothing happens.
        last_message: seconds since states came last; None if none did.
        reconnects: connections made after one was lost.
        last_error: why there is no connection, or was none the last time; None if there always was.
        thread_alive: whether the drain thread runs.
    """

    healthy: bool
    name: str
    address: str
    state: str
    connected: bool
    since: float
    pending: int
    oldest_pending: float | None
    last_message: float | None
    reconnects: int
    last_error: str | None
    thread_alive: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict that ``json.dumps()`` takes."""
        return dataclasses.asdict(self)


def health_of(session: Session) -> WatcherHealth:
    """A snapshot. Takes no lock and waits for nobody. Any thread."""
    stats = session.stats()
    outage_since, ended = session.outage_since, session.ended
    changed_at = outage_since or session.connected_at or session.began_at
    last_error = session.last_error
    if ended is not None and session.state is State.FAILED:
        # The thread died of something that was no outage.
        last_error = str(ended())
    now = time.monotonic()
    oldest_seen_at, heard_at = session.pending.oldest_seen_at(), session.heard_at
    return WatcherHealth(
        healthy=outage_since is None and ended is None and session.state not in _OVER,
        name=session.settings.name,
        address=session.settings.address,
        state=stats.state,
        connected=stats.connected,
        since=time.time() - (now - changed_at),
        pending=stats.pending,
        oldest_pending=None if oldest_seen_at is None else now - oldest_seen_at,
        last_message=None if heard_at is None else now - heard_at,
        reconnects=stats.reconnects,
        last_error=last_error,
        thread_alive=stats.thread_alive,
    )
