"""Log lines of the drain thread: an application's logging handler may raise, and must not end the thread."""

from __future__ import annotations

import logging

__all__ = ["log_safely"]


def log_safely(
    logger: logging.Logger, level: int, text: str, *arguments: object, error: BaseException | None = None
) -> None:
    """Log; whatever a handler, a filter or an argument's ``repr`` raises is swallowed."""
    try:
        logger.log(level, text, *arguments, exc_info=error)
    except Exception:  # noqa: BLE001 - there is nowhere left to report it to
        pass
