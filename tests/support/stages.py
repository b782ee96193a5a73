"""How far a watcher of results in Redis has come with each of its ids, as its own books say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bgresults import ResultWatcher
from bgresults.session import Command
from tests.support.waiting import wait_until

__all__ = ["STAGES", "stage_of", "until_at_rest", "until_in_stage"]

#: In the order in which an id goes through them.
STAGES = (
    "registered",  # the command of watch() waits to be taken
    "queued",  # taken, and not sent
    "sent",  # the SUBSCRIBE is on its way
    "confirmed",  # the stored value is to be read
    "reading",  # the MGET is on its way
    "settled",  # only a message can end it now
)


def stage_of(watcher: ResultWatcher) -> dict[str, str]:
    """Task id → stage, of all ids that are watched. Exact while the drain thread stands still."""
    session = watcher._session
    consumer: Any = session.consumer
    subscriptions, stored = consumer._subscriptions, consumer._stored
    found: dict[str, str] = {}

    def put(task_ids: Iterable[str], stage: str) -> None:
        # An id whose future has ended may be here for a moment longer.
        found.update((task_id, stage) for task_id in task_ids if task_id in session.pending)

    put(list(subscriptions.wanted), "settled")
    # Copies: the drain thread may be at work on the originals.
    for batch in list(subscriptions._in_flight):
        if batch.subscribing:
            put(batch.ids, "sent")
    for queue in (subscriptions._queued, subscriptions._resync):
        put(list(queue._waiting), "queued")
    for queue in (stored._queued, stored._resync):
        put(list(queue._waiting), "confirmed")
    for read in list(stored._in_flight):
        put(read.ids, "reading")
    for command, refs in list(session.commands):
        if command is Command.WATCH:
            put((ref.task_id for ref in refs), "registered")
    return found


def until_in_stage(watcher: ResultWatcher, task_ids: Iterable[str], stage: str) -> None:
    """Return once all of them are there; for a stage in which something holds them."""
    ids = list(task_ids)

    def there() -> bool:
        found = stage_of(watcher)
        return all(found.get(task_id) == stage for task_id in ids)

    wait_until(there, f"{len(ids)} ids to be {stage}", interval=0.001)


def until_at_rest(watcher: ResultWatcher) -> None:
    """Return once the drain thread has nothing to do until something comes."""
    session = watcher._session
    consumer: Any = session.consumer

    def at_rest() -> bool:
        subscriptions = consumer._subscriptions
        busy = session.commands or session.pending.dropped or subscriptions._in_flight or subscriptions._leaving
        return not busy and set(stage_of(watcher).values()) <= {"settled"}

    wait_until(at_rest, "the drain thread to be at rest")
