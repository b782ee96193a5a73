"""A result of our own making, from the writing to the future."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from bgresults.diagnosis.findings import Finding
from bgresults.errors import BackendUnavailableError, TooManyPendingError, WatcherError
from bgresults.futures import ResultFuture
from bgresults.watcher import ResultWatcher

__all__ = ["UNREACHABLE", "arrival", "connecting", "new_probe_id", "no_room", "probe_state", "read_only"]

UNREACHABLE = "check that the server runs, that host and port are right, and that this machine may connect to it"


def new_probe_id() -> str:
    """What no task is called."""
    return f"bgresults-probe-{uuid.uuid4()}"


def probe_state(task_id: str) -> dict[str, Any]:
    """What a worker would write of a task that has succeeded."""
    return {
        "task_id": task_id,
        "status": "SUCCESS",
        "result": task_id,
        "traceback": None,
        "children": [],
        "date_done": None,
    }


def connecting(watcher: ResultWatcher, timeout: float) -> Finding | None:
    """Have the watcher connect; returns what is in the way."""
    try:
        if watcher.wait_ready(timeout):
            return None
        why = watcher.health().last_error or f"no connection within {timeout:g} s"
    except WatcherError as error:
        return Finding("error", "watcher", str(error), "correct what the text names, then ask again")
    return Finding("error", "watcher", why, UNREACHABLE)


def arrival(future: ResultFuture, begun: float, timeout: float, cure: str) -> Finding:
    """Wait for a result that was written since ``begun``, on the clock of ``time.monotonic``."""
    try:
        future.result(timeout)
    except FutureTimeoutError:
        text = f"a result was written, and did not arrive within {timeout:g} s"
        return Finding("error", "round-trip", text, cure)
    except BackendUnavailableError as error:
        return Finding("error", "round-trip", str(error), UNREACHABLE)
    except Exception as error:  # noqa: BLE001 - whatever becomes of it is what was asked for
        return Finding("error", "round-trip", f"{type(error).__name__}: {error}", cure)
    milliseconds = (time.monotonic() - begun) * 1000
    return Finding("ok", "round-trip", f"a result that was written has arrived ({milliseconds:.1f} ms)")


def no_room(error: TooManyPendingError) -> Finding:
    """The watcher itself refuses one id more."""
    cure = "look at what is pending, with `bgresults status`; raise max_pending if that is as it should be"
    return Finding("error", "round-trip", f"nothing more can be watched: {error}", cure)


def read_only(words: str) -> Finding:
    """These credentials are not those of a worker, and need not be."""
    return Finding(
        "note",
        "round-trip",
        f"not tried: these credentials may read results, and not write them, which is all that is needed ({words})",
    )
