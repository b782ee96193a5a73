"""A state in the form of celery-progress, which its pages and their JavaScript understand.

``complete`` and ``success`` mean what they mean there: an attempt that will be repeated (RETRY) is complete and no
success, and other states follow it. Other than there, a state with a name of the application's own is progress as well,
and no error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from bgresults.meta import TaskMeta
from bgresults.sse.outcomes import next_retry_seconds
from bgresults.sse.plain_json import shortened

__all__ = ["COMPLETE", "form_of", "waiting_form"]

#: The states that say how the task, or an attempt of it, ended.
COMPLETE: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED", "RETRY"})
# Characters; Celery's own names have 8.
_LONGEST_NAME: Final = 200


def form_of(meta: TaskMeta, outcome: Any) -> dict[str, Any]:
    """What a page is told of a state.

    Args:
        meta: the state.
        outcome: what it is told of how the task ended; counts for the states in ``COMPLETE`` only.
    """
    state = meta.status
    complete = state in COMPLETE
    if state == "RETRY":
        outcome = {"next_retry_seconds": next_retry_seconds(meta), "message": outcome}
    return {
        "task_id": meta.task_id,
        "state": state[:_LONGEST_NAME],
        "complete": complete,
        "success": state == "SUCCESS" if complete else None,
        "progress": _progress(100, 100, 100) if complete else _progress_in(meta.result, pending=state == "PENDING"),
        "result": outcome if complete else None,
    }


def waiting_form(task_id: str) -> dict[str, Any]:
    """The same of a task of which nothing was heard yet."""
    return form_of(TaskMeta(task_id, "PENDING"), None)


def _progress(
    current: float, total: float, percent: float, description: str = "", *, pending: bool = False
) -> dict[str, Any]:
    return {
        "pending": pending,
        "current": current,
        "total": total,
        "percent": percent,
        "description": description,
    }


def _progress_in(details: Any, *, pending: bool) -> dict[str, Any]:
    """What the task gave to ``update_state(meta=…)``, as far as it makes sense."""
    if not isinstance(details, Mapping):
        return _progress(0, 100, 0, pending=pending)
    current, total, percent = (_number(details.get(name)) for name in ("current", "total", "percent"))
    if percent is None and current is not None and total is not None and total > 0:
        percent = 100 * current / total
    percent = 0 if percent is None else round(min(max(percent, 0), 100), 2)
    if current is None or total is None:
        # Without the one the other says nothing.
        current, total = percent, 100
    description = details.get("description")
    return _progress(
        current,
        total,
        percent,
        shortened(description) if isinstance(description, str) else "",
        pending=pending or details.get("pending") is True,
    )


def _number(value: Any) -> float | None:
    """A finite number that JSON and the page can count with, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    try:
        number = float(value) if isinstance(value, Decimal) else value
        return number if math.isfinite(number) and abs(number) < 1e300 else None
    except (ValueError, OverflowError):
        return None
