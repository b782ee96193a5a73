"""The two log lines of an outage: that it began, and that it is over."""

from __future__ import annotations

import logging

from bgresults.safe_logging import log_safely
from bgresults.session import Session

__all__ = ["log_outage", "log_recovery"]


def log_outage(session: Session, error: BaseException) -> None:
    """There is no connection any more, or still none."""
    text, pending = str(error), len(session.pending)
    log_safely(
        session.logger,
        logging.WARNING,
        "%s; %d futures are pending",
        text,
        pending,
        event="outage",
        watcher=session.settings.name,
        address=session.settings.address,
        reason=text,
        pending=pending,
    )


def log_recovery(session: Session, seconds: float, recovered: int) -> None:
    """There is one again, after so many seconds, and so many results were waiting there."""
    address, pending = session.settings.address, len(session.pending)
    log_safely(
        session.logger,
        logging.INFO,
        "%s: connected again after %.1f s; %d results were waiting there, %d futures are pending",
        address,
        seconds,
        recovered,
        pending,
        event="recovery",
        watcher=session.settings.name,
        address=address,
        seconds=seconds,
        recovered=recovered,
        pending=pending,
    )
