""":class:`SentTask`: a task that was sent while a :class:`~bgresults.testing.FakeResults` took its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SentTask"]


@dataclass(frozen=True)
class SentTask:
    """What the worker would have got.

    Attributes:
        id: of the task.
        name: of the task.
        args, kwargs: as they came out of the serializer: a tuple is a list there.
        queue: the queue, or the routing key, that it was sent to.
        headers: of the message.
    """

    id: str
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
