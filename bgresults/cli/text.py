"""Text that may be written to a terminal, whoever it comes from."""

from __future__ import annotations

import time
from datetime import datetime

from bgresults.meta import TaskMeta
from bgresults.sse.form import form_of
from bgresults.sse.outcomes import plain_result
from bgresults.sse.plain_json import printable, shortened, text_of

__all__ = ["clock", "counted", "duration", "news_of", "progress_of"]


def news_of(state: TaskMeta) -> str:
    """What a state says besides its name, in one line; may be empty."""
    if state.status == "SUCCESS":
        return printable(text_of(state.result))
    if state.status in ("FAILURE", "REVOKED", "RETRY"):
        return printable(shortened(str(plain_result(state))))
    percent, description = progress_of(state)
    words = [] if percent is None else [f"{percent:g} %"]
    if description:
        words.append(printable(description))
    return "  ".join(words) or ("" if state.result is None else printable(text_of(state.result)))


def progress_of(state: TaskMeta) -> tuple[float | None, str]:
    """Percent, if the task says how far it is (``current`` and ``total``, or ``percent``); and its description."""
    details = state.result
    told = form_of(state, None)["progress"]
    knows = isinstance(details, dict) and ("percent" in details or {"current", "total"} <= details.keys())
    return (told["percent"] if knows else None), told["description"]


def counted(count: int, what: str) -> str:
    """``1 id``, ``2 ids``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def duration(seconds: float) -> str:
    """For people, in two units at most: ``0.3 ms``, ``12.5 s``, ``3 min 5 s``, ``2 h 10 min``, ``4 d 3 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def clock(at: float) -> str:
    """Unix time as the local time of day, with the date if that is another day."""
    moment = datetime.fromtimestamp(at)
    return moment.strftime(
        "%H:%M:%S" if moment.date() == datetime.fromtimestamp(time.time()).date() else "%Y-%m-%d %H:%M:%S"
    )
