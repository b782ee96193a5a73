"""Where a thread is."""

from __future__ import annotations

import gc
import sys
from types import FrameType

__all__ = ["innermost_frame"]


def innermost_frame(thread: int | None) -> FrameType | None:
    """The innermost Python frame of the thread with this ident; None if there is no such thread.

    Before Python 3.12 the interpreter hangs, all of it, if the garbage collector comes while it collects the frames.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread or 0)
    finally:
        if collecting:
            gc.enable()
