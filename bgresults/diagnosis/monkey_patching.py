"""Whether gevent or eventlet came too late: after the locks of this library had been made."""

from __future__ import annotations

import sys

from bgresults.forking import leaf_lock

__all__ = ["patched_late"]


def patched_late() -> str | None:
    """The name of the library that replaced ``threading`` after this one was imported; None if none did.

    A lock that was made before does not know of greenlets: one that waits for it stops all of them.
    """
    name = _patcher()
    # Made when this library was imported. The interpreter's own type is in "_thread", theirs are not.
    return name if name is not None and type(leaf_lock()).__module__ == "_thread" else None


def _patcher() -> str | None:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None
