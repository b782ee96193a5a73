"""Whether this process shall say how it is doing: the one thing that is looked at when it shall not."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from bgresults.forking import import_lock
from bgresults.safe_logging import log_safely

__all__ = ["STATUS_DIR", "serve_if_wanted", "set_folder"]

#: The variable of the environment.
STATUS_DIR = "BGRESULTS_STATUS_DIR"

_logger = logging.getLogger("bgresults")
# What somebody has said, and whether somebody has. Inherited by a fork, as it should be.
_folder: Path | None = None
_said = False


def set_folder(folder: Path | None) -> None:
    """From now on, whatever the environment says."""
    global _folder, _said
    _folder, _said = folder, True


def serve_if_wanted() -> None:
    """Start answering, if it was asked for and has not begun. By each drain thread as it starts; never raises."""
    folder = _folder if _said else os.environ.get(STATUS_DIR)
    if not folder:
        return
    try:
        with import_lock():
            from bgresults.status.serving import checked, serve
        serve(checked(folder))
    except Exception as error:  # noqa: BLE001 - results are more important than what is said of them
        log_safely(_logger, logging.WARNING, "no status is told in %s: %s", folder, error, event="telemetry_failed")
