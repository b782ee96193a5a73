"""What a page is told of how a task ended."""

from __future__ import annotations

import re
from typing import Any, Final

from bgresults.meta import TaskMeta
from bgresults.sse.plain_json import shortened
from bgresults.task_exceptions import exception_from

__all__ = ["next_retry_seconds", "plain_result"]

# celery-progress looks for whole seconds of this: nothing else in what a worker stores says when it will try again.
_RETRY_IN: Final = re.compile(r"Retry in (\d{1,10}(?:\.\d{1,10})?)s", re.ASCII)


def plain_result(meta: TaskMeta) -> Any:
    """What ``sse()`` sends as the result of a task unless it is told otherwise: ``result=`` takes any such function.

    Args:
        meta: a state that says how the task, or an attempt of it, ended: SUCCESS, FAILURE, REVOKED or RETRY.

    Returns:
        The value. Of a task that failed, and of an attempt that will be repeated, class and message of the error,
        without its traceback; of one that was revoked, ``"Task revoked"``.
    """
    if meta.status == "SUCCESS":
        return meta.result
    # The state of a RETRY has the description of an error, and not the error.
    error = meta.result if isinstance(meta.result, BaseException) else exception_from(meta.raw)
    if meta.status == "REVOKED":
        return f"Task {_message(error) or 'revoked'}"
    return ": ".join(filter(None, [type(error).__name__, _message(error)]))


def next_retry_seconds(meta: TaskMeta) -> float | str:
    """Seconds after which a worker tries again, as far as the state of a RETRY says so; else ``"Unknown"``."""
    found = _RETRY_IN.search(meta.traceback) if isinstance(meta.traceback, str) else None
    if found is None:
        return "Unknown"
    return float(found[1]) if "." in found[1] else int(found[1])


def _message(error: BaseException) -> str:
    try:
        return shortened(str(error))
    except Exception:  # noqa: BLE001 - a class of the task's own, with a method of its own
        return ""
