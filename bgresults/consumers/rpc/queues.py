"""What reply queues look like, and the interface of the two ways to use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from kombu.entity import Queue

from bgresults.consumers.rpc.failures import out_of_reach
from bgresults.consumers.rpc.links import ChannelClosed, Link
from bgresults.errors import WatcherError
from bgresults.options import AMQPOptions

__all__ = ["Declared", "Queues", "QueuesOwner", "declare", "exists", "new_queue"]


# kombu has no types of its own.
_Queue: Any = Queue
#: Called with None, or with the reason why there is no such queue.
Declared = Callable[["WatcherError | None"], object]


class QueuesOwner(Protocol):
    """Who is told of what happens to queues; never while the connection is being read."""

    def _arrived(self, message: Any) -> None:
        """A message of kombu's: to be put aside, for this one does come while the connection is read."""

    def _channel_reopened(self) -> None:
        """What came on the former channel can no more be acknowledged; it comes again."""

    def _queue_gone(self) -> None:
        """The same, but it does not come again: its queue was deleted."""

    def _queues_lost(self, task_ids: Iterable[str], name: str) -> None:
        """A queue was deleted or has expired. These ids wait for what may have been in it."""

    def _refused(self, task_id: str, error: WatcherError) -> None:
        """The result of this id will not come here."""


class Queues(Protocol):
    """The queues of one consumer, on one connection after the other."""

    @property
    def reply_to(self) -> str | None:
        """The name of the one queue for all, once it is there."""

    def attach(self, link: Link, *, no_ack: bool, task_ids: Iterable[str]) -> None:
        """There is a new connection: declare and consume what is needed on it. Raises ConnectionLost."""

    def consume(self, task_ids: Iterable[str]) -> None:
        """These ids are asked for, from the next :meth:`flush` on."""

    def cancel(self, task_ids: Iterable[str]) -> None:
        """They are not any more."""

    def declare(self, task_id: str, then: Declared) -> None:
        """Have the queue there that replies of this id go to; ``then(None)`` is called when it is."""

    def catch_up(self, then: Declared) -> None:
        """Call ``then(None)`` when everything has been handled that is in the one queue for all ids now."""

    def flush(self, now: float) -> None:
        """Send what is due. Raises ConnectionLost."""

    def next_due(self) -> float | None:
        """When :meth:`flush` has something to do again, on the clock of ``time.monotonic``; None: not by itself."""

    def delete(self, link: Link) -> None:
        """Before a polite farewell: leave no queue behind. Raises ConnectionLost."""


def new_queue(name: str, options: AMQPOptions, *, priority: int = 0) -> Any:
    """A queue that outlives its connection, but not for ever.

    Not auto-delete, not exclusive: either would lose what is published while we are away.

    Args:
        name, options: of the queue.
        priority: of who consumes it, over others that do.
    """
    arguments = {} if options.queue_type is None else {"x-queue-type": options.queue_type}
    return _Queue(
        name,
        durable=True,
        auto_delete=False,
        exclusive=False,
        expires=options.queue_expires,
        queue_arguments=arguments,
        consumer_arguments={"x-priority": priority},
    )


def declare(link: Link, name: str, options: AMQPOptions, *, nowait: bool = False) -> None:
    """Make the queue if it is not there. Inside ``link.asking()``."""
    new_queue(name, options).bind(link.channel).declare(nowait=nowait)


def exists(link: Link, name: str) -> bool:
    """Ask whether the queue is there. Raises ConnectionLost, and ChannelClosed if the broker cannot tell."""
    try:
        with link.asking():
            link.channel.queue_declare(queue=name, passive=True)
    except ChannelClosed as closed:
        if closed.code == 404 and not out_of_reach(str(closed)):
            return False
        raise
    return True
