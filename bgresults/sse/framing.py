"""The wire format of server-sent events: lines of UTF-8 text, and an empty line after each event.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["HEADERS", "HEARTBEAT", "event", "retry_hint"]

# A plain dict: some frameworks take other mappings for lists of pairs.
#: What a response with events has to say: that it is one, and that nobody on its way may keep, change or collect it.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

#: A comment, which a browser skips.
HEARTBEAT: Final = b": heartbeat\n\n"

# What ends a line for a browser; str.splitlines() knows more.
_LINE_END: Final = re.compile("\r\n|\n|\r")


def event(name: str, data: str, event_id: str | None = None) -> bytes:
    """One event.

    Args:
        name: what the page listens to.
        data: any text; a browser sees each kind of line end in it as ``\\n``.
        event_id: what the browser sends as Last-Event-ID if it has to connect again; None to leave that as it was.
    """
    lines = [f"event: {name}"]
    if event_id is not None:
        lines.append(f"id: {event_id}")
    lines.extend(f"data: {line}" for line in _LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


def retry_hint(seconds: float) -> bytes:
    """How long a browser has to wait until it connects again."""
    return b"retry: %d\n\n" % round(seconds * 1000)
