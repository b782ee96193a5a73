""":class:`ProcessQueue`: one reply queue for everything that this process waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bgresults.consumers.rpc.links import Link
from bgresults.consumers.rpc.queues import Declared, QueuesOwner, declare, exists, new_queue
from bgresults.options import AMQPOptions

__all__ = ["ProcessQueue"]


class ProcessQueue:
    """The queue has a name that nobody else uses, and keeps it: workers were told to reply to it.

    Args:
        options: of the consumer.
        consumer_class: ``kombu.Consumer``, or what took its place.
        owner: is told.
        name: of the queue.
    """

    def __init__(self, options: AMQPOptions, consumer_class: Any, owner: QueuesOwner, name: str) -> None:
        self._options = options
        self._consumer_class = consumer_class
        self._owner = owner
        self._name = name
        self._declared = False
        self._priority = 0
        self._link: Link | None = None
        self._no_ack = False
        self._then: list[Declared] = []
        # Who wants to know that everything is here which was in the queue when they asked; and those who may be told
        # as soon as it is handled.
        self._catching_up: list[Declared] = []
        self._caught_up: list[Declared] = []
        self._ids: dict[str, None] = {}
        self._was_cancelled = False
        self._was_lost = False

    @property
    def reply_to(self) -> str | None:
        return self._name if self._declared else None

    def attach(self, link: Link, *, no_ack: bool, task_ids: Iterable[str]) -> None:
        self._link, self._no_ack = link, no_ack
        self._ids = dict.fromkeys(task_ids)
        self._was_cancelled = False
        # What was on its way to us when the broker was asked comes again.
        self._catching_up = self._caught_up + self._catching_up
        self._caught_up = []
        self._set_up(link)

    def consume(self, task_ids: Iterable[str]) -> None:
        self._ids.update(dict.fromkeys(task_ids))

    def cancel(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._ids.pop(task_id, None)

    def declare(self, task_id: str, then: Declared) -> None:
        self._then.append(then)

    def catch_up(self, then: Declared) -> None:
        self._catching_up.append(then)

    def flush(self, now: float) -> None:
        told, self._caught_up = self._caught_up, []
        for then in told:
            then(None)
        if self._was_cancelled and self._link is not None:
            self._was_cancelled = False
            self._set_up(self._link)
        if self._then and self._link is not None:
            waiting, self._then = self._then, []
            for then in waiting:
                then(None)
        if self._catching_up and self._link is not None:
            # What was in the queue is on its way to us, and its broker answers behind it. Elsewhere nobody does.
            if self._link.misses_queues and not self._is_there(self._link):
                self._was_cancelled = True
            self._caught_up, self._catching_up = self._catching_up, []

    def next_due(self) -> float | None:
        return 0.0 if self._then or self._catching_up or self._caught_up or self._was_cancelled else None

    def delete(self, link: Link) -> None:
        if self._declared:
            self._declared = False
            with link.asking():
                link.channel.queue_delete(queue=self._name, nowait=True)

    def _set_up(self, link: Link) -> None:
        """Declare and consume. A queue that had been there and is not any more has taken replies with it."""
        if self._declared and link.misses_queues and not self._is_there(link):
            # Until it was told: the connection may be lost right after the queue was made anew.
            self._was_lost = True
        with link.asking():
            declare(link, self._name, self._options)
            # Over a dead link the broker goes on to send to our former self, until it misses its heartbeats. Not if
            # somebody with a higher priority is there.
            self._priority += 1
            queue = new_queue(self._name, self._options, priority=self._priority)
            self._consumer_class(
                link.channel,
                [queue],
                no_ack=self._no_ack,
                auto_declare=False,
                on_message=self._owner._arrived,
                # A body that is neither bytes nor text is a message too.
                on_decode_error=lambda message, _error: self._owner._arrived(message),
                prefetch_count=self._options.prefetch,
            ).consume()
        link.when_cancelled(self._on_cancel)
        self._declared = True
        if self._was_lost:
            self._was_lost = False
            self._owner._queues_lost(list(self._ids), self._name)

    def _is_there(self, link: Link) -> bool:
        if exists(link, self._name):
            return True
        # The broker closes the channel with that answer.
        self._owner._queue_gone()
        return False

    def _on_cancel(self) -> None:
        """The broker deleted the queue. While the connection is read: nobody is told now."""
        self._was_cancelled = True
