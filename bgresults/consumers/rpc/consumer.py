"""The :class:`ResultConsumer` for results that Celery workers send as replies, through a message broker.

Nothing is stored: a reply is a message on a queue, and once acknowledged it is gone. So the queue outlives the
connection, and every delivery is acknowledged after it was handled, whatever it was: with the future resolved, or the
reply put where a later ``watch()`` finds it. What had not been acknowledged when a connection was lost is
delivered again; what had been resolved is known by then, and dropped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import kombu.messaging

from bgresults.broker_urls import parse_broker_url
from bgresults.consumers.base import BaseResultConsumer, ConnectionLost, DeclaredCallback
from bgresults.consumers.ids import ids_of
from bgresults.consumers.rpc.failures import connection_lost
from bgresults.consumers.rpc.links import AMQPLink, ChannelClosed, Link, VirtualLink
from bgresults.consumers.rpc.process_queue import ProcessQueue
from bgresults.consumers.rpc.queues import Queues
from bgresults.consumers.rpc.replies import Replies
from bgresults.consumers.rpc.task_queues import TaskQueues
from bgresults.consumers.rpc.virtual import check_transport
from bgresults.consumers.sockets import SocketOpener
from bgresults.consumers.tls import check_files
from bgresults.errors import ReplyLostError, WatcherError
from bgresults.meta import READY_STATES
from bgresults.options import AMQPOptions
from bgresults.reply_queues import new_reply_queue
from bgresults.safe_logging import log_safely

__all__ = ["ResultConsumer"]

_logger = logging.getLogger("bgresults.rpc")


class ResultConsumer(BaseResultConsumer):
    """Receives task states from a message broker. See the base class for what the arguments and methods mean.

    Args:
        options: how to use the broker, beyond what the URL says.
        reply_queue: the name of the one queue for all ids; None for a new one.

    Raises:
        TypeError, ValueError: an argument makes no sense; the text names it and what is allowed.
    """

    Consumer = kombu.messaging.Consumer

    def __init__(
        self, url: str, *, options: AMQPOptions | None = None, reply_queue: str | None = None, **settings: Any
    ) -> None:
        address = parse_broker_url(url, AMQPOptions() if options is None else options)
        super().__init__(url, **settings)
        if address.connect_timeout is not None:
            self.connect_timeout = address.connect_timeout
        self.address = address
        self._options = address.options
        self.binding = address.options.binding
        check_files(self._options, used=address.tls)
        if address.kombu_url is not None:
            check_transport(address)
        self._opener = SocketOpener(keepalive=True, tls=self._options if address.tls else None)
        self._no_ack = self._options.no_ack
        self._link: Link | None = None
        self._next_check = 0.0
        # What has worked once is refused later only in passing; see connection_lost().
        self._proven = False
        self._begin_anew(new_reply_queue() if reply_queue is None else reply_queue)

    def _begin_anew(self, reply_queue: str) -> None:
        """Nothing is asked for and nothing is known."""
        options = self._options
        self._queues: Queues = (
            TaskQueues(options, self)
            if options.binding == "task"
            else ProcessQueue(options, self.Consumer, self, reply_queue)
        )
        self._consumed: dict[str, None] = {}
        self._replies = Replies(options, self._decoder, self.counters, self)

    # -- life --------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def synced(self) -> bool:
        # What came while we were away is in the queue, and comes by itself.
        return self._link is not None

    @property
    def subscribed(self) -> int:
        return len(self._consumed)

    @property
    def reply_to(self) -> str | None:
        return self._queues.reply_to

    def consumed_ids(self) -> list[str]:
        return list(self._consumed)

    def start(self, initial_task_id: str | None, no_ack: bool = True, **kwargs: Any) -> None:
        self._started = True
        self._no_ack = no_ack
        if initial_task_id is not None:
            self._consume((initial_task_id,))
        if not self.connected:
            self.reconnect()
        self._flush()

    def reconnect(self) -> None:
        self._started = True
        self._disconnect()
        self._replies.restart(no_ack=self._no_ack)
        link = self._open_link()
        try:
            try:
                self._queues.attach(link, no_ack=self._no_ack, task_ids=list(self._consumed))
            except ChannelClosed as closed:
                raise connection_lost(closed.__cause__ or closed, self.address.text, proven=self._proven) from closed
        except BaseException:  # whatever it was: no connection may stay behind; raised again
            link.close()
            raise
        self._proven = True
        self._link = link
        self._next_check = 0.0

    def _open_link(self) -> Link:
        seconds = self._attempt_seconds()
        if self.address.kombu_url is not None:
            return VirtualLink(self.address, seconds, wakeup=self._wakeup)
        return AMQPLink(self.address, self._opener, seconds, proven=self._proven, wakeup=self._wakeup)

    def stop(self) -> None:
        self._started = False
        link, self._link = self._link, None
        if link is not None:
            try:
                self._replies.acknowledge(link)
                self._queues.delete(link)
            except (ChannelClosed, ConnectionLost):
                # They expire by themselves.
                pass
            link.close()

    def on_after_fork(self) -> None:
        self._started = False
        link, self._link = self._link, None
        # First the sockets: what the libraries' objects do when they go must find nothing left to do it to.
        self._opener.sockets.close_all()
        if link is not None:
            link.defuse()
        # The queue is the parent's.
        self._begin_anew(new_reply_queue())

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    # -- ids ---------------------------------------------------------------------------------------------------------

    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        self._consume(task_ids)
        if self.auto_reconnect:
            if not self._started:
                self.start(None, no_ack=self._no_ack)
            elif self.connected:
                self._flush()
        if not self.connected:
            # What is here already need not wait for a connection.
            self._replies.hand_out_claimed()

    def _consume(self, task_ids: Iterable[str]) -> None:
        elsewhere = []
        for task_id in task_ids:
            if task_id in self._consumed:
                continue
            self._consumed[task_id] = None
            if not self._replies.claim(task_id):
                elsewhere.append(task_id)
        if elsewhere:
            self._queues.consume(elsewhere)

    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        cancelled = [task_id for task_id in task_ids if self._consumed.pop(task_id, self) is not self]
        if cancelled:
            self._queues.cancel(cancelled)

    def needs_waking(self, task_ids: Iterable[str]) -> bool:
        # With one queue for all there is nothing to tell the broker. Registered first, asked second: a reply that came
        # before, unnoticed, is found here; one that comes later finds who was registered.
        if self.binding == "task":
            return True
        replies = self._replies
        return any(task_id in replies for task_id in task_ids)

    def sent_again(self, task_id: str) -> None:
        self._replies.supersede(task_id)

    def at_hand(self, task_id: str) -> dict[str, Any] | None:
        return self._replies.at_hand(task_id)

    def declare_for(self, task_id: str, then: DeclaredCallback) -> None:
        self._queues.declare(task_id, then)

    def catch_up(self, then: DeclaredCallback) -> None:
        self._queues.catch_up(then)

    # -- states ------------------------------------------------------------------------------------------------------

    def _drain(self, timeout: float | None) -> int:
        try:
            return self._turn(timeout)
        except ConnectionLost:
            self._disconnect()
            raise
        except ChannelClosed as closed:
            self._disconnect()
            raise ConnectionLost(f"{self.address.text}: {closed}") from closed

    def _turn(self, timeout: float | None) -> int:
        link = self._link
        if link is None:
            raise ConnectionLost(f"{self.address.text}: not connected")
        self._flush()
        link.receive(0.0 if self._replies.waiting else self._patience(timeout, time.monotonic()))
        if self._replies.waiting and self.before_states is not None:
            self.before_states()
        count = self._replies.handle(link, acknowledge=not self._no_ack)
        now = time.monotonic()
        if now >= self._next_check:
            # After the reading: a thread that was held up has not been left without a heartbeat.
            self._next_check = now + link.check(now)
        return count

    def _patience(self, timeout: float | None, now: float) -> float:
        """How long the select may last, at most ``timeout``: until something of our own is due."""
        until = self._next_check
        for due in (self._queues.next_due(), self._replies.next_due()):
            if due is not None and due < until:
                until = due
        limit = max(0.0, until - now)
        return limit if timeout is None else min(timeout, limit)

    def _flush(self) -> None:
        """Send what is due."""
        if self._link is not None:
            try:
                self._queues.flush(time.monotonic())
            except ChannelClosed as closed:
                self._disconnect()
                raise ConnectionLost(f"{self.address.text}: {closed}") from closed

    def _fail(self, task_id: str, error: WatcherError) -> None:
        """End an id with an error."""
        self.cancel_for(task_id)
        if self._on_error is not None:
            self._on_error(task_id, error)

    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        task_id = meta["task_id"]
        if meta["status"] in READY_STATES:
            # First: whoever is woken by the callback needs the interpreter's lock, which this thread keeps until it
            # waits again. So what is left to do afterwards is little.
            self.cancel_for(task_id)
        if self._on_state is not None:
            self._on_state(task_id, meta)  # type: ignore[arg-type]

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """Nothing is stored at the broker; pass on what came before anybody asked for it."""
        for task_id in ids_of(result):
            if task_id not in self._consumed and task_id in self._replies:
                self._consumed[task_id] = None
                self._replies.claim(task_id)
        self._replies.hand_out_claimed()

    # -- QueuesOwner, RepliesOwner -----------------------------------------------------------------------------------

    def _arrived(self, message: Any) -> None:
        """Put a message aside. Called while the connection is read, so nothing else is done here."""
        self._replies.arrived(message)

    def _channel_reopened(self) -> None:
        """Forget what can no more be acknowledged."""
        self._replies.restart(no_ack=self._no_ack)

    def _queue_gone(self) -> None:
        """Keep what came, and acknowledge none of it."""
        self._replies.orphan()

    def _is_consumed(self, task_id: str) -> bool:
        """Whether somebody asked for it."""
        return task_id in self._consumed

    def _queues_lost(self, task_ids: Iterable[str], name: str) -> None:
        """Count it, say so, and end whom the options say."""
        waiting = [task_id for task_id in task_ids if task_id in self._consumed]
        self.counters.queues_lost += 1
        text = "%s: the reply queue %s was deleted or has expired; %d futures were waiting for what may have been in it"
        address, lost = self.address.text, len(waiting)
        fields: dict[str, Any] = {"event": "queue_lost", "address": address, "queue": name, "pending": lost}
        log_safely(_logger, logging.WARNING, text, address, name, lost, **fields)
        if self._options.on_reply_loss == "fail":
            for task_id in waiting:
                self._fail(
                    task_id,
                    ReplyLostError(f"the reply queue {name!r} was deleted while task {task_id!r} was waited for"),
                )

    def _refused(self, task_id: str, error: WatcherError) -> None:
        """Its queue cannot be consumed."""
        self._fail(task_id, error)
