""":class:`TaskQueues`: one queue for each task, named after it, so that whoever knows the id can watch it.

A queue is consumed exclusively: of two processes that watch one id, the second one is told. The broker says no by
closing the channel, which ends every consumer there is on it. So a batch that was refused is tried again one by one,
before what had been consumed is consumed again.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from bgresults.consumers.rpc.failures import other_reply_queue, out_of_reach
from bgresults.consumers.rpc.links import ChannelClosed, Link
from bgresults.consumers.rpc.queues import Declared, QueuesOwner, declare
from bgresults.errors import NotWatchableError
from bgresults.options import AMQPOptions

__all__ = ["TaskQueues", "no_name"]

# A broker takes some milliseconds to make a durable queue, and all of a batch has to be made within read_timeout.
_PER_BATCH: Final = 50
_SUSPECTS_PER_TURN: Final = 20
# After a reconnect the broker may not have noticed yet that our former self is gone.
_GHOST_HEARTBEATS: Final = 3
_RETRY: Final = 1.0
# Bytes of a queue's name, as AMQP has it.
_LONGEST_NAME: Final = 255


class TaskQueues:
    """See the module's text.

    Args:
        options: of the consumer.
        owner: is told.
    """

    reply_to = None

    def __init__(self, options: AMQPOptions, owner: QueuesOwner) -> None:
        self._options = options
        self._owner = owner
        self._link: Link | None = None
        self._no_ack = False
        self._tags = itertools.count(1)
        # Id → consumer tag, of what is consumed on this connection, or was asked to be.
        self._active: dict[str, str] = {}
        self._ids_by_tag: dict[str, str] = {}
        self._wanted: dict[str, None] = {}
        # Of a batch that was refused: one of them is the reason.
        self._suspects: dict[str, None] = {}
        self._unwanted: dict[str, None] = {}
        self._gone: list[str] = []
        self._declarations: deque[tuple[str, Declared]] = deque()
        # Their queues are there, as far as we know: if one is not, replies may have gone with it.
        self._known: set[str] = set()
        # Consumed before the last reconnect: our former self may still hold them, until then.
        self._ghosts: set[str] = set()
        self._ghosts_until = 0.0
        self._later: dict[str, float] = {}

    def attach(self, link: Link, *, no_ack: bool, task_ids: Iterable[str]) -> None:
        now = time.monotonic()
        ghosts = set(self._active)
        if now < self._ghosts_until:
            # This connection may be lost before the ghosts of the last one are.
            ghosts |= self._ghosts
        self._wanted = dict.fromkeys(task_ids)
        for task_id in self._wanted:
            # A farewell that failed would have deleted all.
            self._unwanted.pop(task_id, None)
        # Those that have yet to be deleted may be wanted again before they are.
        self._ghosts = ghosts & {*self._wanted, *self._unwanted}
        self._ghosts_until = now + _GHOST_HEARTBEATS * max(self._options.heartbeat, 1)
        self._link, self._no_ack = link, no_ack
        self._active.clear()
        self._ids_by_tag.clear()
        self._suspects.clear()
        self._later.clear()
        self._gone.clear()
        with link.asking():
            link.channel.basic_qos(0, self._options.prefetch, False)
        self.flush(now)

    def consume(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            if (why := no_name(task_id)) is not None:
                self._owner._refused(task_id, why)
                continue
            # Its queue may have been deleted a moment ago: that is on its way before the declaration is.
            self._unwanted.pop(task_id, None)
            if task_id not in self._active:
                self._wanted[task_id] = None

    def cancel(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._wanted.pop(task_id, None)
            self._suspects.pop(task_id, None)
            self._later.pop(task_id, None)
            if task_id in self._active or task_id in self._known:
                self._unwanted[task_id] = None

    def declare(self, task_id: str, then: Declared) -> None:
        if (why := no_name(task_id)) is not None:
            then(why)
        else:
            self._declarations.append((task_id, then))

    def catch_up(self, then: Declared) -> None:
        then(None)

    def flush(self, now: float) -> None:
        link = self._link
        if link is None:
            return
        self._tell_of_the_gone()
        self._delete(link)
        self._declare(link)
        for task_id in [task_id for task_id, due in self._later.items() if due <= now]:
            del self._later[task_id]
            self._suspects[task_id] = None
        for task_id in _some(self._suspects, _SUSPECTS_PER_TURN):
            self._consume(link, [task_id], now)
        if not self._suspects and (batch := _some(self._wanted, _PER_BATCH)):
            self._consume(link, batch, now)
        self._tell_of_the_gone()

    def next_due(self) -> float | None:
        if self._wanted or self._suspects or self._unwanted or self._declarations or self._gone:
            return 0.0
        return min(self._later.values(), default=None)

    def delete(self, link: Link) -> None:
        for task_id in self._active:
            self._unwanted[task_id] = None
        while self._unwanted:
            self._delete(link)
        self._known.clear()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _consume(self, link: Link, task_ids: list[str], now: float) -> None:
        try:
            with link.asking():
                for task_id in task_ids:
                    if task_id not in self._known:
                        declare(link, task_id, self._options, nowait=True)
                    self._begin(link, task_id)
                # Answered after all of these: if the channel still is what it was, so are they.
                link.channel.basic_qos(0, self._options.prefetch, False)
            self._known.update(task_ids)
        except ChannelClosed as closed:
            self._start_over(task_ids)
            if len(task_ids) == 1:
                self._refused(task_ids[0], closed, now)
            else:
                self._suspects.update(dict.fromkeys(task_ids))

    def _begin(self, link: Link, task_id: str) -> None:
        channel, owner = link.channel, self._owner
        tag = f"bgresults.{next(self._tags)}"
        self._active[task_id] = tag
        self._ids_by_tag[tag] = task_id

        def on_message(raw: Any) -> None:
            owner._arrived(channel.message_to_python(raw))

        channel.basic_consume(
            queue=task_id,
            no_ack=self._no_ack,
            consumer_tag=tag,
            callback=on_message,
            exclusive=True,
            nowait=True,
            on_cancel=self._on_cancel,
        )

    def _start_over(self, suspects: Iterable[str]) -> None:
        """The channel is a new one: nothing is consumed any more."""
        self._owner._channel_reopened()
        again = set(self._active).difference(suspects)
        self._active.clear()
        self._ids_by_tag.clear()
        self._wanted = {**dict.fromkeys(again.difference(self._unwanted)), **self._wanted}

    def _refused(self, task_id: str, closed: ChannelClosed, now: float) -> None:
        if closed.code == 406 and task_id not in self._known and other_reply_queue(str(closed)):
            # There is one already, made with other options. It will do.
            self._known.add(task_id)
            self._suspects[task_id] = None
            return
        if closed.code in (403, 405) and task_id in self._ghosts and now < self._ghosts_until:
            self._later[task_id] = now + _RETRY
            return
        if closed.code == 404 and out_of_reach(str(closed)):
            self._later[task_id] = now + _RETRY
            return
        # Not there, or not ours: in neither case will it be deleted.
        self._known.discard(task_id)
        if closed.code == 404:
            self._gone.append(task_id)
            self._wanted[task_id] = None
        else:
            self._owner._refused(
                task_id, NotWatchableError(f"the reply queue of task {task_id!r} cannot be consumed: {closed}")
            )

    def _on_cancel(self, tag: str) -> None:
        """The broker deleted a queue. While the connection is read: nobody is told now."""
        task_id = self._ids_by_tag.pop(tag, None)
        if task_id is not None and self._active.get(task_id) == tag:
            del self._active[task_id]
            self._known.discard(task_id)
            self._gone.append(task_id)
            self._wanted[task_id] = None

    def _tell_of_the_gone(self) -> None:
        while self._gone:
            task_id = self._gone.pop()
            self._owner._queues_lost([task_id], task_id)

    def _delete(self, link: Link) -> None:
        task_ids = list(itertools.islice(self._unwanted, _PER_BATCH))
        if not task_ids:
            return
        with link.asking():
            for task_id in task_ids:
                tag = self._active.get(task_id)
                if tag is not None:
                    # The consumer would end with its queue; but one that is made anew at once would be in use still.
                    link.cancel_consumer(tag)
                link.channel.queue_delete(queue=task_id, nowait=True)
        # Not before: they are deleted on the next connection, if this one is lost.
        for task_id in task_ids:
            del self._unwanted[task_id]
            self._known.discard(task_id)
            self._ghosts.discard(task_id)
            tag = self._active.pop(task_id, None)
            if tag is not None:
                self._ids_by_tag.pop(tag, None)

    def _declare(self, link: Link) -> None:
        while self._declarations:
            # It stays there until it is done: on the next connection, if this one is lost.
            task_id, then = self._declarations[0]
            why: NotWatchableError | None = None
            try:
                with link.asking():
                    declare(link, task_id, self._options)
            except ChannelClosed as closed:
                self._start_over(())
                if closed.code != 406 or not other_reply_queue(str(closed)):
                    why = NotWatchableError(f"the reply queue of task {task_id!r} cannot be declared: {closed}")
            self._declarations.popleft()
            then(why)


def no_name(task_id: str) -> NotWatchableError | None:
    """Why there can be no queue of this name; py-amqp would not even ask."""
    if len(task_id.encode()) <= _LONGEST_NAME:
        return None
    return NotWatchableError(
        f"task id {task_id[:60]!r}… cannot be the name of a queue: it has more than {_LONGEST_NAME} bytes"
    )


def _some(ids: dict[str, None], most: int) -> list[str]:
    """Take at most so many out."""
    taken = list(itertools.islice(ids, most))
    for task_id in taken:
        del ids[task_id]
    return taken
