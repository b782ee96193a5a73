""":func:`overview_of`: what a server knows of all processes that wait for results there, wherever they run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bgresults.diagnosis.settings import new_consumer
from bgresults.watcher import ResultWatcher

__all__ = ["overview_of"]


def overview_of(watcher: ResultWatcher, *, queues: Iterable[str] = (), most_ids: int = 1000) -> dict[str, Any]:
    """Ask the server of a watcher, over a connection that is made for it; the watcher itself does nothing.

    Args:
        watcher: says where the server is.
        queues: reply queues to look at, where results come as replies.
        most_ids: how many ids to tell, of those that are watched on Redis.

    Returns:
        What ``json.dumps()`` takes: ``server``, ``address``, and

        * of a Redis: ``up_seconds``, ``persistence``, ``evicted_keys``, ``cut_off_readers`` (connections that the
          server closed since they did not read), ``watched`` and ``task_ids`` (of all processes, under this prefix),
          ``subscribers``, and ``refused``: what this user may not ask. What is not told is None;
        * of a broker: ``queues``, with the messages that nobody has taken yet, and how many read each.

    Raises:
        ConnectionLost: there is no connection to be had.
        WatcherError, TypeError, ValueError: the settings make no sense.
    """
    watcher._configure()
    consumer = new_consumer(watcher)
    # As in consumers: a process that uses one kind of backend does not import the libraries of the other.
    if consumer.binding is None:
        from bgresults.diagnosis.redis_overview import redis_overview

        return redis_overview(consumer, most_ids)
    from bgresults.diagnosis.broker import broker_overview

    return broker_overview(consumer, queues)
