"""A port that nobody listens on, and nobody will as long as this process runs.

One that was free a moment ago may be another test's server by now.
"""

from __future__ import annotations

import atexit
import socket
from typing import Final

__all__ = ["CLOSED_PORT"]

# Bound, and no more: whoever connects to it is refused, and nobody else gets it. Made before any test is, so that it is
# none of those that a test has left open.
_held = socket.socket()
atexit.register(_held.close)
_held.bind(("127.0.0.1", 0))
CLOSED_PORT: Final[int] = _held.getsockname()[1]
