"""Names on the server: a task's key and channel, which are one."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["KeyNames"]

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

    def keys(self, task_ids: Iterable[str]) -> list[bytes]:
        """Those of many tasks."""
        prefix = self._prefix
        return [prefix + task_id.encode() for task_id in task_ids]

    def task_id(self, key: bytes) -> str:
        """The task of a key that :meth:`key` made; of any other key, something that no task is called."""
        return key[self._length :].decode(errors="surrogateescape")
