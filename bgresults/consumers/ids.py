"""The task ids in what Celery calls a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["ids_of"]


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
