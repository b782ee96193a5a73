"""What can be said of a watcher without a connection: from its settings, and those of its Celery application."""

from __future__ import annotations

from typing import Any

from bgresults.diagnosis.encryption import examine_encryption
from bgresults.diagnosis.findings import Finding
from bgresults.errors import NotWatchableError
from bgresults.watcher import ResultWatcher

__all__ = ["examine_settings", "new_consumer"]

_SET_A_BACKEND = "set result_backend of the Celery app, such as 'redis://localhost:6379/0' or 'rpc://'"
_MOVE_RESULTS = (
    "set result_backend to a Redis ('redis://…') or to 'rpc://', in the workers as well; results in a database, a "
    "cache or on a disk can only be polled for"
)


def examine_settings(watcher: ResultWatcher) -> list[Finding]:
    """Look at the settings; connects to nothing.

    Of a watcher of a Celery application, at those too that decide whether there are results at all.
    """
    app = getattr(watcher, "app", None)
    try:
        watcher._configure()
    except NotWatchableError as error:
        return [_unwatchable(app, error)]
    except (TypeError, ValueError) as error:
        return [Finding("error", "settings", str(error), "correct the setting that is named")]
    consumer = new_consumer(watcher)
    findings = [Finding("ok", "settings", f"results are expected at {watcher._settings.address}")]
    findings += examine_encryption(consumer.address)
    if app is not None:
        findings += _application(app)
    return findings


def new_consumer(watcher: ResultWatcher) -> Any:
    """A consumer like that of the watcher, which has its settings; not connected."""
    return watcher._settings.make_consumer()


def _unwatchable(app: Any, error: NotWatchableError) -> Finding:
    setting = None if app is None else app.backend_cls or app.conf.result_backend
    if app is not None and (not setting or str(setting).startswith("disabled")):
        return Finding("error", "no-backend", f"Celery stores no results: {error}", _SET_A_BACKEND)
    return Finding("error", "not-watchable", str(error), _MOVE_RESULTS)


def _application(app: Any) -> list[Finding]:
    findings = []
    if app.conf.task_always_eager:
        findings.append(
            Finding(
                "warning",
                "eager",
                "task_always_eager is set: tasks run in the process that sends them, and nothing is ever sent",
                "set it in tests only",
            )
        )
    if app.conf.task_ignore_result:
        findings.append(
            Finding(
                "warning",
                "ignored-results",
                "task_ignore_result is set: no result is stored, and a future of a task that was sent elsewhere "
                "stays pending",
                "set it to False, or give the tasks that are waited for ignore_result=False",
            )
        )
    if not app.conf.task_track_started:
        findings.append(
            Finding(
                "note",
                "started",
                "task_track_started is not set: that a task was begun is not told",
                "set it in the workers if updates() should tell STARTED",
            )
        )
    return findings
