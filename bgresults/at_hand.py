"""Results that are here already when they are asked for: the calling thread settles the future itself.

A broker does not keep what it has delivered, so replies that nobody watched yet, and the last ones that were delivered,
are kept by the consumer. To have one from there the drain thread is not needed, and neither is a wait for it: that
would be two changes of thread for one look into a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from bgresults.forking import leaf_lock
from bgresults.futures import ResultFuture
from bgresults.session import Session
from bgresults.waits import tell_at_once

__all__ = ["count_at_hand", "settle_at_hand"]


def settle_at_hand(session: Session, futures: list[ResultFuture]) -> list[ResultFuture]:
    """End those whose result is at hand, and return the others. Any thread.

    Args:
        session: of this process.
        futures: made a moment ago, and not handed out yet: nobody waits for one or has put a callback on it.
    """
    consumer = session.consumer
    if consumer is None:
        return futures
    others = []
    for future in futures:
        raw = consumer.at_hand(future.task_id)
        # A session that refuses everything refuses what is at hand too.
        if raw is None or session.current_refusal() is not None:
            others.append(future)
            continue
        future._raw = raw
        future._settle(raw.get("result"), None)
    return others


def count_at_hand(session: Session, futures: list[ResultFuture], waiting: Sequence[ResultFuture] = ()) -> None:
    """All but those that are ``waiting`` were ended like that, and are handed out now. Any thread."""
    if len(futures) == len(waiting):
        return
    with leaf_lock():
        session.counters.resolved_at_hand += len(futures) - len(waiting)
    if session.observers:
        others = set(map(id, waiting))
        tell_at_once(session, [future for future in futures if id(future) not in others], "resolved")
