""":class:`Replies`: from a message to a state of a task, and to whoever asked for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from bgresults.consumers.rpc.links import Link
from bgresults.consumers.rpc.unclaimed import Reply, UnclaimedReplies
from bgresults.errors import ResultDecodeError, WatcherError
from bgresults.meta import READY_STATES, Decoder
from bgresults.options import AMQPOptions
from bgresults.stats import Counters

__all__ = ["Replies", "RepliesOwner"]


# Bytes of a body whose decoded state is kept as well: it takes a few times as many.
_SMALL: Final = 1024
# Seconds that an acknowledgement may wait. Putting one together takes as long as handling a reply, with the GIL held:
# right after a future was resolved, the thread that waits for it would have to wait for that too.
_QUIET: Final = 0.001


class RepliesOwner(Protocol):
    """Who knows which ids are asked for, and passes on their states."""

    def _is_consumed(self, task_id: str) -> bool:
        """Whether somebody asked for it."""
        ...

    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        """There is a state of an id that is consumed."""

    def _fail(self, task_id: str, error: WatcherError) -> None:
        """An id that is consumed ends with this error."""


class Replies:
    """Messages that have come and are not handled yet, and those that are kept for later.

    Args:
        options: of the consumer.
        decoder: reads bodies.
        counters: where to count.
        owner: is told.
    """

    def __init__(self, options: AMQPOptions, decoder: Decoder, counters: Counters, owner: RepliesOwner) -> None:
        self._decoder = decoder
        self._counters = counters
        self._owner = owner
        self._unclaimed = UnclaimedReplies(
            options.unclaimed_max, options.unclaimed_max_bytes, options.unclaimed_max_age, counters
        )
        # Consumed, and here already.
        self._claimed: deque[str] = deque()
        self._messages: deque[Any] = deque()
        # The last one that was handled on this channel, until it is acknowledged; and with how many before it.
        self._handled: Any = None
        self._unacknowledged = 0
        self._acknowledge_at = 0.0
        # So many of the messages, the first ones, came on a former channel, of which nothing can be acknowledged.
        self._orphans = 0
        # The broker sends no more than its prefetch window ahead.
        self._most = max(1, options.prefetch // 4)

    def __contains__(self, task_id: str) -> bool:
        """Whether something is kept for it."""
        return task_id in self._unclaimed

    @property
    def waiting(self) -> bool:
        """Whether there is something to handle."""
        return bool(self._claimed or self._messages)

    def arrived(self, message: Any) -> None:
        """Put a message aside, to be handled by :meth:`handle`."""
        self._messages.append(message)

    def claim(self, task_id: str) -> bool:
        """The id is consumed from now on; returns whether its end is here, and nothing else has to be waited for."""
        if task_id in self._unclaimed:
            self._claimed.append(task_id)
        return self._unclaimed.ended(task_id)

    def supersede(self, task_id: str) -> None:
        """The task is about to be sent once more. Any thread."""
        self._unclaimed.supersede(task_id)

    def restart(self, *, no_ack: bool = False) -> None:
        """The channel is a new one: what had not been handled had not been acknowledged either, and comes again.

        With ``no_ack`` nothing does: what is here is handled.
        """
        if not no_ack:
            self._messages.clear()
        self.orphan()

    def orphan(self) -> None:
        """The channel is a new one, and nothing comes again: handle what is here, and acknowledge none of it."""
        self._handled = None
        self._unacknowledged = 0
        self._orphans = len(self._messages)

    def at_hand(self, task_id: str) -> dict[str, Any] | None:
        """The final state of a task that succeeded, if it can be had here and now, without a claim. Any thread.

        Not if a task failed, and not if it takes more than plain JSON to read it: a decoder, and the constructor of an
        exception, may raise anything, and nobody could tell that from what a signal handler of the user's raises.
        """
        reply = self._unclaimed.only_success(task_id)
        if reply is None:
            return None
        meta = reply.take_decoded() or self._decoder.decode_plain(
            reply.body, content_type=reply.content_type, compression=reply.compression
        )
        if meta is not None:
            reply.seen = True
        return meta

    def hand_out_claimed(self) -> int:
        """Pass on what is kept for ids that are consumed now; returns how many states.

        Not for what a callback claims: one that always asks for the same id again would never let anything else come.
        """
        handled = 0
        for _ in range(len(self._claimed)):
            # A callback may have had the rest handed out itself.
            if not self._claimed:
                break
            task_id = self._claimed.popleft()
            for reply in self._unclaimed.claim(task_id) if self._owner._is_consumed(task_id) else ():
                handled += self._pass_on(task_id, reply)
        return handled

    def _pass_on(self, task_id: str, reply: Reply) -> int:
        """Pass on what is kept; decoded once more for each who asks later: each future has a value of its own."""
        if not self._owner._is_consumed(task_id):
            return 0
        try:
            meta = reply.take_decoded() or self._decoded(reply)
        except ResultDecodeError as error:
            self._owner._fail(task_id, error)
            return 0
        self._owner.on_state_change(meta, reply)
        return 1

    def handle(self, link: Link, *, acknowledge: bool) -> int:
        """Handle everything that is here, and acknowledge what is due; returns how many states were passed on.

        Raises:
            ConnectionLost: it could not be acknowledged.
        """
        # What was kept is older than the message that has just come.
        handled = self.hand_out_claimed()
        messages = self._messages
        if not messages:
            self._acknowledge_if_due(link)
            return handled
        deferred = acknowledge and link.acknowledges_many
        while messages:
            message = messages.popleft()
            handled += self._on_message(message)
            if self._orphans:
                self._orphans -= 1
            elif deferred:
                # Whatever it was: one that is never acknowledged takes room in the prefetch window for ever.
                self._handled = message
                self._unacknowledged += 1
                if self._unacknowledged == 1:
                    self._acknowledge_at = time.monotonic() + _QUIET
            elif not link.acknowledges_many:
                with link.asking():
                    message.ack()
        self._acknowledge_if_due(link)
        return handled

    def next_due(self) -> float | None:
        """When :meth:`handle` has to be called even if nothing comes, on the clock of ``time.monotonic``."""
        return self._acknowledge_at if self._unacknowledged else None

    def acknowledge(self, link: Link) -> None:
        """Acknowledge all that was handled, in one. Raises ConnectionLost."""
        last, self._handled = self._handled, None
        self._unacknowledged = 0
        if last is not None:
            with link.sending():
                last.ack(multiple=True)

    def _acknowledge_if_due(self, link: Link) -> None:
        count = self._unacknowledged
        if count and (count >= self._most or time.monotonic() >= self._acknowledge_at):
            self.acknowledge(link)

    def _on_message(self, message: Any) -> int:
        """Handle one message; returns how many states were passed on."""
        if message.delivery_info.get("redelivered"):
            self._counters.redelivered += 1
        reply = Reply(message.body, message.content_type, message.content_encoding, message.compression, final=True)
        try:
            meta = self._decoded(reply)
        except ResultDecodeError as error:
            self._on_undecodable(message.properties.get("correlation_id"), reply, error)
            return 0
        task_id = meta["task_id"]
        reply.final = meta["status"] in READY_STATES
        reply.succeeded = meta["status"] == "SUCCESS"
        if not self._owner._is_consumed(task_id):
            if len(reply.body) <= _SMALL:
                reply.decoded = [meta]
            self._put_aside(task_id, reply, redelivered=bool(message.delivery_info.get("redelivered")))
            return 0
        if reply.final:
            reply.seen = True
            self._unclaimed.keep(task_id, reply)
        self._owner.on_state_change(meta, message)
        return 1

    def _decoded(self, reply: Reply) -> dict[str, Any]:
        return self._decoder.decode(
            reply.body,
            content_type=reply.content_type,
            content_encoding=reply.content_encoding,
            compression=reply.compression,
        )

    def _put_aside(self, task_id: str, reply: Reply, *, redelivered: bool) -> None:
        """Nobody watches it, or nobody does any more."""
        if self._unclaimed.ended(task_id) and (redelivered or not reply.final):
            self._counters.duplicate += 1
        else:
            self._unclaimed.keep(task_id, reply)

    def _on_undecodable(self, task_id: object, reply: Reply, error: ResultDecodeError) -> None:
        self._counters.undecodable += 1
        if not isinstance(task_id, str):
            # Of whatever task it was: nobody can be told.
            return
        reply.seen = self._owner._is_consumed(task_id)
        if not reply.seen and self._unclaimed.ended(task_id):
            # It says nothing, and takes the place of nothing.
            return
        self._unclaimed.keep(task_id, reply)
        if reply.seen:
            self._owner._fail(task_id, error)
