""":class:`UnclaimedReplies`: replies that nobody watches yet, and the last ones that were delivered.

A broker does not keep what it has delivered. So a reply that overtakes its ``watch()``, and a result that is watched a
second time, can only come from here. The room is bounded by count, bytes and age; what nobody has seen yet is counted
when it has to go.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from bgresults.stats import Counters

__all__ = ["Reply", "UnclaimedReplies"]

# States of one task that are kept besides its last one: a chatty task must not drive out the results of others.
_STATES_OF_ONE = 64


@dataclass(slots=True)
class Reply:
    """One message, as it came.

    Attributes:
        body, content_type, content_encoding, compression: of the message.
        final: whether the task had ended; what cannot be read ends it as well.
        succeeded: whether it had ended with a value.
        seen: whether somebody watched when it came.
        decoded: what was decoded already, for the first one who asks; of small bodies only, which the bounds count.
    """

    body: Any
    content_type: str | None
    content_encoding: str | None
    compression: str | None
    final: bool
    succeeded: bool = False
    seen: bool = False
    decoded: list[dict[str, Any]] | None = None

    @property
    def size(self) -> int:
        """In bytes, as far as they count: a small message costs more than its body."""
        return len(self.body) + 200

    def take_decoded(self) -> dict[str, Any] | None:
        """What was decoded already, once: each future has a value of its own. Any thread."""
        try:
            return self.decoded.pop() if self.decoded else None
        except IndexError:
            # Another thread was first.
            return None


@dataclass(slots=True)
class _Kept:
    """What is known of one task: its states in order."""

    at: float
    replies: list[Reply] = field(default_factory=list)
    #: Whether it was sent once more since. Any thread writes.
    superseded: bool = False


class UnclaimedReplies:
    """Task id → replies, the oldest tasks first."""

    def __init__(self, most: int, most_bytes: int, most_seconds: float, counters: Counters) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._counters = counters
        # Not a dict: asked for its first item, that one looks at all the places that were vacated at its front.
        self._tasks: OrderedDict[str, _Kept] = OrderedDict()
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        """How many replies are kept."""
        return self._count

    def __contains__(self, task_id: str) -> bool:
        return self._current(task_id) is not None

    def ended(self, task_id: str) -> bool:
        """Whether the final reply of a task is here."""
        kept = self._current(task_id)
        return kept is not None and kept.replies[-1].final

    def only_success(self, task_id: str) -> Reply | None:
        """The reply with a task's value, if it is alone. Any thread: a look, while the owner may change all of it."""
        kept = self._current(task_id)
        if kept is None:
            return None
        replies = kept.replies
        return replies[0] if len(replies) == 1 and replies[0].succeeded else None

    def supersede(self, task_id: str) -> None:
        """The task is sent once more: what is here says nothing about that. Any thread.

        It goes when the owner has something better, or needs the room. What was claimed before is handed out all the
        same: whoever asked for it asked for the former one.
        """
        kept = self._tasks.get(task_id)
        if kept is not None:
            kept.superseded = True

    def keep(self, task_id: str, reply: Reply) -> None:
        """Keep a reply, the newest of its task. A final one that was seen stands alone."""
        now = time.monotonic()
        kept = self._tasks.pop(task_id, None)
        if kept is None:
            kept = _Kept(now)
        elif kept.superseded or (reply.final and (reply.seen or kept.replies[-1].final)):
            self._forget(kept.replies)
            kept = _Kept(now)
        elif len(kept.replies) >= _STATES_OF_ONE:
            self._give_up([kept.replies.pop(0)])
        kept.at = now
        kept.replies.append(reply)
        self._tasks[task_id] = kept
        self._count += 1
        self._bytes += reply.size
        if not reply.seen:
            self._counters.buffered += 1
        self._make_room(now)

    def claim(self, task_id: str) -> list[Reply]:
        """Somebody watches now: return what is here, in order. A final reply stays, for the next one who asks."""
        kept = self._tasks.get(task_id)
        if kept is None:
            return []
        replies = list(kept.replies)
        if replies[-1].final:
            self._forget(replies[:-1])
            kept.replies = replies[-1:]
            kept.replies[0].seen = True
        else:
            del self._tasks[task_id]
            self._forget(replies)
        return replies

    def _current(self, task_id: str) -> _Kept | None:
        """What is known of a task since it was sent last. Any thread."""
        kept = self._tasks.get(task_id)
        return None if kept is None or kept.superseded else kept

    def _make_room(self, now: float) -> None:
        # Tasks are in the order of their last reply, so the first one is the oldest.
        while self._tasks:
            oldest = self._tasks[next(iter(self._tasks))]
            too_old = oldest.at + self._most_seconds <= now
            if not too_old and self._count <= self._most and self._bytes <= self._most_bytes:
                return
            self._tasks.popitem(last=False)
            self._give_up(oldest.replies)

    def _give_up(self, replies: list[Reply]) -> None:
        self._counters.evicted += sum(not reply.seen for reply in replies)
        self._forget(replies)

    def _forget(self, replies: list[Reply]) -> None:
        self._count -= len(replies)
        self._bytes -= sum(reply.size for reply in replies)
