"""What may be sent, as type checkers see it: they tell what sends a group from what sends a single task.

Celery has no annotations of its own, and there are stubs that not everybody has installed. So its classes are described
here by what they have, and fit either way; without any types at all, everything fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

__all__ = ["ManyTasks", "OneTask", "SomeTasks"]


class _Group(Protocol):
    """``celery.group``."""

    @property
    def skew(self) -> Any: ...
    @property
    def tasks(self) -> Any: ...


class _Chord(Protocol):
    """``celery.chord``."""

    @property
    def body(self) -> Any: ...
    @property
    def tasks(self) -> Any: ...


class _Chunks(Protocol):
    """``task.chunks(…)``."""

    @property
    def group(self) -> Any: ...
    @property
    def freeze(self) -> Any: ...


class _Signature(Protocol):
    """``celery.Signature``, ``celery.chain``."""

    @property
    def freeze(self) -> Any: ...
    @property
    def link_error(self) -> Any: ...


ManyTasks: TypeAlias = _Group | _Chord | _Chunks
#: What it is shows when it runs: a chain may end in a group, a signature that was stored may be of one.
SomeTasks: TypeAlias = _Signature | Mapping[str, Any]
#: A task, which some type checkers take for the function that it was made of; or the name of one.
OneTask: TypeAlias = str | Callable[..., Any]
