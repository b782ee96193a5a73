"""Telling one of Celery's results what became of its task, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["fulfil", "is_fulfilled", "is_set"]

_CLAIM: Final = "_bgresults_claim"


def is_set(result: Any) -> bool:
    """Whether it is a group, or another set of results, and not that of a single task."""
    return hasattr(result, "results")


def is_fulfilled(result: Any) -> bool:
    """Whether the result of a single task knows its end."""
    return bool(result._cache)


def fulfil(result: Any, raw: Mapping[str, Any]) -> None:
    """Give a result the final state of its task; what waits for it in Celery's own way, ``then()`` too, is called.

    Any thread, any number of them: a promise of vine's that is kept twice at once calls twice, and a barrier would
    count a member for two. So one of them keeps it; the others make sure that the result can be asked, and go on. No
    lock: a callback may wait for something else, and a fork may come in the middle of it.

    Args:
        result: an ``AsyncResult``.
        raw: the state as it was decoded; it stays as it is.
    """
    claim = object()
    if vars(result).setdefault(_CLAIM, claim) is claim:
        result._maybe_set_cache(dict(raw))
    elif not is_fulfilled(result):
        result._set_cache(result.backend.meta_from_decoded(dict(raw)))
