""":class:`StoredReads`: which stored values are still to be read, in how large commands. Pure data.

The server answers one MGET in one piece, and holds that piece in memory until we have read it: 200 values of 1 MiB are
200 MiB. So the number of ids in a command follows the bytes that the last ones came to, and few are on their way.

A stored state and a message may say the same, and may cross. A stored state that is not final is dropped if a message
for its id came since the read was wanted, since the message is newer or the same; and a message that repeats, byte for
byte, the stored state just told is a repetition. An id that is wanted once more may be in several reads at a time: each
knows for itself which messages came since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from bgresults.consumers.redis.id_queue import IdQueue

__all__ = ["Read", "StoredReads"]

# The bytes that one answer should not exceed by much.
ANSWER_BYTES = 8 * 1024 * 1024
MAX_CHUNK = 1000
# Nothing is known about the size of the values at first, so the first command is a small one.
FIRST_CHUNK = 8
IN_FLIGHT = 2


class Read:
    """One MGET on its way, and the ids for which a message has come meanwhile: also others than its own."""

    __slots__ = ("heard", "ids", "resync")

    def __init__(self, ids: list[str], heard: set[str], *, resync: bool) -> None:
        self.ids = ids
        self.heard = heard
        self.resync = resync


class StoredReads:
    """The drain thread's own; not thread-safe."""

    def __init__(self) -> None:
        self._queued = IdQueue()
        self._resync = IdQueue()
        self._in_flight: deque[Read] = deque()
        # Answered in this turn. The messages that come in the same turn are looked at first.
        self._unhandled: list[Read] = []
        # Ids that are queued; and those for which a message has come meanwhile.
        self._awaited: set[str] = set()
        self._heard: set[str] = set()
        # Stored states that were told, none of them final, until a message for their id comes.
        self._told: dict[str, bytes] = {}
        self._chunk = FIRST_CHUNK

    def want(self, task_ids: Sequence[str], *, resync: bool = False) -> None:
        """Read these ids."""
        queue = self._resync if resync else self._queued
        queue.extend(task_ids)
        self._awaited.update(task_ids)

    def cancel(self, task_ids: Iterable[str]) -> None:
        """Do not read these ids after all; forget what was told of them."""
        for task_id in task_ids:
            self._queued.discard(task_id)
            self._resync.discard(task_id)
            self._awaited.discard(task_id)
            self._heard.discard(task_id)
            self._told.pop(task_id, None)

    def forget(self, task_id: str) -> None:
        """:meth:`cancel` for one id: most have been read long ago, and then there is nothing to forget."""
        if task_id in self._awaited or task_id in self._told:
            self.cancel((task_id,))

    def resyncing(self) -> bool:
        """Whether something that was wanted when the connection was made has not been read yet."""
        return bool(self._resync) or any(read.resync for read in self._in_flight)

    def asked_for(self) -> int:
        """How many values the next answer has to hold; -1 if no answer is due."""
        return len(self._in_flight[0].ids) if self._in_flight else -1

    @property
    def in_flight(self) -> int:
        """How many answers are due."""
        return len(self._in_flight)

    def next_read(self) -> Read | None:
        """The next MGET to send, if there is one and few enough are on their way."""
        if len(self._in_flight) >= IN_FLIGHT or not (self._resync or self._queued):
            return None
        resync = bool(self._resync)
        queue = self._resync if resync else self._queued
        ids = queue.pop(self._chunk)
        self._awaited.difference_update(ids)
        if resync:
            # Those that were wanted once more are in the other queue as well.
            self._awaited.update(task_id for task_id in ids if task_id in self._queued)
        read = Read(ids, self._heard.intersection(ids) if self._heard else set(), resync=resync)
        self._heard &= self._awaited
        self._in_flight.append(read)
        return read

    def answered(self, values: Sequence[bytes | None]) -> Read:
        """The answer to the oldest MGET has come; adapts the size of the next ones to it."""
        read = self._in_flight.popleft()
        self._unhandled.append(read)
        size = sum(len(value) for value in values if value)
        if size <= ANSWER_BYTES // 4:
            self._chunk = min(MAX_CHUNK, max(self._chunk, 4 * len(read.ids)))
        else:
            self._chunk = max(1, min(MAX_CHUNK, len(read.ids) * ANSWER_BYTES // size))
        return read

    def handled(self) -> None:
        """All that was answered has been dealt with, or never will be."""
        self._unhandled.clear()

    def is_news(self, task_id: str, payload: bytes) -> bool:
        """A message that is not final has come for an id: whether it says something that the stored state did not."""
        # To whichever reads it matters: to look for the id among those of each would cost more.
        for read in (*self._in_flight, *self._unhandled):
            read.heard.add(task_id)
        if task_id in self._awaited:
            self._heard.add(task_id)
        return self._told.pop(task_id, None) != payload

    def is_current(self, read: Read, task_id: str, payload: bytes) -> bool:
        """A stored state that is not final was read: whether no message for its id came since."""
        if task_id in read.heard:
            return False
        self._told[task_id] = payload
        return True

    def restart(self) -> None:
        """The connection is new: what was on its way is lost, and what is wanted will be wanted again."""
        self._queued = IdQueue()
        self._resync = IdQueue()
        self._in_flight.clear()
        self._unhandled.clear()
        self._awaited.clear()
        self._heard.clear()
        self._told.clear()
