"""Log lines of the drain thread: an application's logging handler may raise, and must not end the thread."""

from __future__ import annotations

import logging

__all__ = ["log_safely"]


def log_safely(
    logger: logging.Logger,
    level: int,
    text: str,
    *arguments: object,
    error: BaseException | None = None,
    **fields: object,
) -> None:
    """Log; whatever a handler, a filter or an argument's ``repr`` raises is swallowed.

    Args:
        logger, level, text, arguments: as for ``Logger.log()``.
        error: whose traceback comes along.
        fields: attributes of the record, whose names begin with ``bgresults_`` there; docs/monitoring.md has them all.
    """
    try:
        logger.log(level, text, *arguments, exc_info=error, extra={f"bgresults_{key}": fields[key] for key in fields})
    except Exception:  # noqa: BLE001 - there is nowhere left to report it to
        pass
