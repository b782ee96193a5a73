"""What callers may pass as a task id."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

__all__ = ["TaskId", "task_id_of", "task_ids_of"]


class HasId(Protocol):
    """An ``AsyncResult``, which a type checker may know nothing more of."""

    @property
    def id(self) -> Any: ...


#: What callers may pass as the id of a task. A group's result has an id as well, and is refused when it is seen.
TaskId: TypeAlias = str | uuid.UUID | HasId

_ALLOWED = "a non-empty str, a uuid.UUID or an AsyncResult"


def task_id_of(value: Any) -> str:
    """Return the task id that ``value`` is, or has.

    Raises:
        TypeError: it is none, or several.
        ValueError: it is a str that cannot be the id of a task.
    """
    if isinstance(value, str):
        task_id = str.__str__(value)
    elif isinstance(value, uuid.UUID):
        return str(value)
    elif hasattr(value, "results"):
        raise TypeError(
            f"a {type(value).__name__} stands for several tasks: pass its members to watch_many(), "
            "for instance watch_many(group_result.results)"
        )
    elif isinstance(getattr(value, "id", None), str):
        task_id = value.id
    else:
        raise TypeError(f"task_id must be {_ALLOWED}, not {type(value).__name__}")
    if not task_id:
        raise ValueError(f"task_id must be {_ALLOWED}, not an empty str")
    if not task_id.isascii():
        try:
            # It becomes the name of a key and of a channel. Better refused here than in the drain thread.
            task_id.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"task_id {task_id!r} cannot be encoded as UTF-8: {error.reason}") from error
    return task_id


def task_ids_of(values: Iterable[Any]) -> list[str]:
    """Return the task ids of several values.

    Raises:
        TypeError, ValueError: as :func:`task_id_of`; also for a single id, since a str is an iterable of letters.
    """
    if isinstance(values, (str, bytes, uuid.UUID)):
        raise TypeError(
            f"task_ids must be an iterable of ids, not a single {type(values).__name__}; use watch() for one"
        )
    if not isinstance(values, Iterable):
        raise TypeError(f"task_ids must be an iterable of ids, not {type(values).__name__}")
    return [task_id_of(value) for value in values]
