"""Whether uWSGI lets threads run.

2.0.28 does in any case. 2.0.26 holds the interpreter's lock between two requests unless it is told otherwise, so a
thread runs only while a request happens to wait for something.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["complaint"]


def complaint() -> str | None:
    """What is wrong with this uWSGI, and the cure; None if nothing is, or this is none."""
    # uWSGI puts it there; nobody else can import it.
    uwsgi: Any = sys.modules.get("uwsgi")
    if getattr(uwsgi, "has_threads", 1):
        return None
    return (
        "this uWSGI runs without threads: between two requests bgresults can neither receive results nor keep its "
        "connection alive. Start it with --enable-threads (enable-threads = true), or with --threads"
    )
