""":class:`Carriers`: where a task's own trace is: what its sender has put into the task's message, or its result has.

A result says nothing of the trace of its task, as Celery writes it, unless the context was stamped onto the task and
``result_extended`` is on. The message with which the task is sent does, where the application is instrumented: of what
this process sends, Celery tells.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry import propagate

from bgresults import forking

__all__ = ["Carriers", "SentTask", "carrier_of"]

# A few hundred bytes each. Of a task that is older than so many others, its trace is not known any more.
_REMEMBERED = 5000


class SentTask(NamedTuple):
    """What is known of a task because this process has sent it."""

    name: str | None
    carrier: dict[str, str]


class Carriers:
    """Remembers the tasks that this process has sent last. Any thread."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, SentTask] = OrderedDict()
        self._listening = False
        forking.register(self)

    def _after_fork_in_child(self) -> None:
        if self._listening:
            from celery.signals import after_task_publish

            # Held for a moment whenever something is published, by a thread that may not have come along. Without a
            # receiver Celery would not take it.
            after_task_publish.lock = threading.Lock()

    def listen(self) -> None:
        """Be told by Celery, if it is installed."""
        try:
            from celery.signals import after_task_publish
        except ImportError:
            return
        after_task_publish.connect(self._on_sent, weak=False, dispatch_uid=id(self))
        self._listening = True

    def listen_no_more(self) -> None:
        """The reverse. Idempotent."""
        if self._listening:
            from celery.signals import after_task_publish

            self._listening = False
            after_task_publish.disconnect(self._on_sent, dispatch_uid=id(self))

    def find(self, task_id: str) -> SentTask | None:
        """What is known of a task."""
        return self._sent.get(task_id)

    def _on_sent(self, sender: Any = None, headers: Any = None, **_: Any) -> None:
        # Other receivers have put the context into the headers before the message was sent; this is after that.
        task_id = headers.get("id") if isinstance(headers, Mapping) else None
        if not isinstance(task_id, str):
            return
        sent = SentTask(sender if isinstance(sender, str) else None, carrier_of(headers))
        with forking.leaf_lock():
            self._sent[task_id] = sent
            if len(self._sent) > _REMEMBERED:
                self._sent.popitem(last=False)


def carrier_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The part of headers, or of a result, that a propagator reads."""
    carrier = {}
    for field in propagate.get_global_textmap().fields:
        value = values.get(field)
        # A stamp is a list of values.
        if isinstance(value, (list, tuple)) and value:
            value = value[0]
        if isinstance(value, str):
            carrier[field] = value
    return carrier
