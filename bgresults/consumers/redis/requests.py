"""Turning what is due into commands on the two connections, and looking at what comes back."""

from __future__ import annotations

from typing import Any

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.keys import KeyNames
from bgresults.consumers.redis.links import Links
from bgresults.consumers.redis.stored import StoredReads
from bgresults.consumers.redis.subscriptions import Subscriptions

__all__ = ["checked_answer", "send_due"]


def send_due(links: Links, subscriptions: Subscriptions, stored: StoredReads, keys: KeyNames, now: float) -> bool:
    """Send SUBSCRIBE, UNSUBSCRIBE along with it, and MGET, as far as they are due; return whether anything was sent.

    Raises:
        ConnectionLost: a connection broke.
    """
    sent = together = False
    while (batch := subscriptions.next_subscribe()) is not None:
        links.subscriber.send("SUBSCRIBE", *keys.keys(batch.ids), answers=len(batch.ids))
        sent = together = True
    while (batch := subscriptions.next_unsubscribe(now, together=together)) is not None:
        links.subscriber.send("UNSUBSCRIBE", *keys.keys(batch.ids), answers=len(batch.ids))
        sent = True
    while (read := stored.next_read()) is not None:
        links.reader.send("MGET", *keys.keys(read.ids), answers=1)
        sent = True
    return sent


def checked_answer(values: Any, count: int, address: str) -> list[bytes | None]:
    """An answer to an MGET of ``count`` keys.

    Raises:
        ConnectionLost: it is something else, so this is no Redis.
    """
    if (
        type(values) is not list
        or len(values) != count
        or not all(value is None or type(value) is bytes for value in values)
    ):
        raise ConnectionLost(f"{address}: the server sent an answer that nobody asked for")
    return values
