"""Names on the server: a task's key and channel, which are one, and the ids in what Celery calls a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["KeyNames", "ids_of"]

_TASK_KEY = b"celery-task-meta-"
# Celery puts an underscore between the user's prefix and its own, unless the prefix ends like one.
_SEPARATORS = (":", "_", "-", ".")


class KeyNames:
    """Task id ↔ key, under one prefix."""

    def __init__(self, prefix: str = "") -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"key_prefix must be a str, not {type(prefix).__name__}")
        if prefix and not prefix.endswith(_SEPARATORS):
            prefix += "_"
        self._prefix = prefix.encode() + _TASK_KEY
        self._length = len(self._prefix)

    def key(self, task_id: str) -> bytes:
        """The key, and channel, of a task."""
        return self._prefix + task_id.encode()

    def task_id(self, key: bytes) -> str:
        """The task of a key that :meth:`key` made; of any other key, something that no task is called."""
        return key[self._length :].decode(errors="surrogateescape")


def ids_of(result: Any) -> Iterable[str]:
    """The task ids in a result, a result set, an id, or an iterable of any of these."""
    if isinstance(result, str):
        yield result
        return
    children = getattr(result, "results", None)
    if children is not None:
        yield from ids_of(children)
    elif isinstance(getattr(result, "id", None), str):
        yield result.id
    else:
        for item in result:
            yield from ids_of(item)
