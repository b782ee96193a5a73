"""An exception that only a worker has loaded: no test imports this module, nor anything that does."""

from __future__ import annotations

__all__ = ["UnseenError"]


class UnseenError(Exception):
    """Unknown in the process that waits for it."""
