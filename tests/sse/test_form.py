"""The form of celery-progress: its own code says what that is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from celery_progress.backend import KnownResult, Progress

from bgresults import ResultWatcher
from tests.sse.reading import Follower
from tests.support.results import ResultWriter, new_id


def told(watcher: ResultWatcher, writer: ResultWriter, status: str, details: Any, **fields: Any) -> dict[str, Any]:
    """What a page is told of a state."""
    task_id = new_id()
    writer.write(task_id, details, status, **fields)
    with Follower("sse", watcher, task_id) as stream:
        event = stream.event()
    assert event.name == "state"
    data: dict[str, Any] = event.json
    assert data["task_id"] == task_id
    return data


@pytest.mark.parametrize(
    ("status", "details", "theirs"),
    [
        ("PENDING", None, None),
        ("STARTED", {"pid": 17, "hostname": "secret"}, {"pid": 17, "hostname": "secret"}),
        (
            "PROGRESS",
            {"pending": False, "current": 3, "total": 7, "percent": 42.86, "description": "…"},
            {"pending": False, "current": 3, "total": 7, "percent": 42.86, "description": "…"},
        ),
        ("SUCCESS", {"value": [1]}, {"value": [1]}),
        ("REVOKED", {"exc_type": "TaskRevokedError", "exc_message": ["revoked"], "exc_module": ""}, "revoked"),
        ("REVOKED", {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": ""}, "expired"),
    ],
)
def test_as_celery_progress_has_it(
    watcher: ResultWatcher, writer: ResultWriter, status: str, details: Any, theirs: Any
) -> None:
    expected = Progress(KnownResult("id", theirs, status)).get_info()
    ours = told(watcher, writer, status, details)
    progress, expected_progress = ours.pop("progress"), expected.pop("progress")
    assert ours == {"task_id": ours["task_id"], "result": None, **expected}
    assert progress == {"description": "", **expected_progress}
    assert "secret" not in str(ours)


def test_a_failure_tells_the_class_as_well(watcher: ResultWatcher, writer: ResultWriter) -> None:
    expected = Progress(KnownResult("id", ValueError("no"), "FAILURE")).get_info()
    described = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
    ours = told(watcher, writer, "FAILURE", described)
    assert expected["result"] == "no"
    assert ours["result"] == "ValueError: no"
    assert (ours["complete"], ours["success"]) == (expected["complete"], expected["success"])


@pytest.mark.parametrize(("traceback", "seconds"), [("… Retry in 12s: ValueError('no')", 12), ("…", "Unknown")])
def test_an_attempt_that_is_repeated(
    watcher: ResultWatcher, writer: ResultWriter, traceback: str, seconds: Any
) -> None:
    """``complete`` and no success, as there; and the stream goes on."""
    expected = Progress(KnownResult("id", ValueError("no"), "RETRY", traceback)).get_info()
    task_id = new_id()
    described = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
    writer.write(task_id, described, "RETRY", traceback=traceback)
    with Follower("sse", watcher, task_id) as stream:
        state = stream.event().json
        assert (state["complete"], state["success"]) == (expected["complete"], expected["success"]) == (True, False)
        assert state["result"] == {"next_retry_seconds": seconds, "message": "ValueError: no"}
        assert expected["result"]["next_retry_seconds"] == seconds
        writer.write(task_id, 1)
        assert [event.name for event in stream.events()] == ["state", "end"]


def test_what_is_told_of_an_attempt_can_be_chosen(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_id()
    writer.write(task_id, {"exc_type": "ValueError", "exc_message": ["secret"], "exc_module": ""}, "RETRY")
    with Follower("sse", watcher, task_id, result=lambda meta: f"{meta.status}: later") as stream:
        assert stream.event().json["result"]["message"] == "RETRY: later"
        assert b"secret" not in stream.sent


@pytest.mark.parametrize(
    ("details", "progress"),
    [
        ({"current": 1, "total": 3}, (1, 3, 33.33, "")),
        ({"current": 0.5, "total": 1, "description": "half"}, (0.5, 1, 50, "half")),
        # The percentage of a task that knows better.
        ({"current": 1, "total": 3, "percent": 90}, (1, 3, 90, "")),
        ({"percent": 12.345}, (12.35, 100, 12.35, "")),
        ({"current": 5, "total": 0}, (5, 0, 0, "")),
        ({"current": 5, "total": -3}, (5, -3, 0, "")),
        ({"current": 9, "total": 3}, (9, 3, 100, "")),
        ({"current": -1, "total": 3}, (-1, 3, 0, "")),
        ({"current": 1, "total": 2, "percent": -5}, (1, 2, 0, "")),
        ({"current": "1", "total": "2"}, (0, 100, 0, "")),
        ({"current": True, "total": [2]}, (0, 100, 0, "")),
        ({"current": 1}, (0, 100, 0, "")),
        ({"current": float("nan"), "total": float("inf"), "description": "?"}, (0, 100, 0, "?")),
        ({"current": 10**400, "total": 10**400}, (0, 100, 0, "")),
        ({"current": 1, "total": 2, "description": {"no": "text"}}, (1, 2, 50, "")),
        ({"current": 1, "total": 2, "description": "x" * 5000}, (1, 2, 50, "x" * 999 + "…")),
        ({}, (0, 100, 0, "")),
        (None, (0, 100, 0, "")),
        ("half way", (0, 100, 0, "")),
        ([1, 2], (0, 100, 0, "")),
    ],
)
@pytest.mark.parametrize("status", ["PROGRESS", "A STATE OF OUR OWN"])
def test_details_that_tasks_give(
    watcher: ResultWatcher, writer: ResultWriter, status: str, details: Any, progress: tuple[Any, ...]
) -> None:
    """Whatever they are, the stream goes on, with all fields and their types."""
    data = told(watcher, writer, status, details)
    assert (data["state"], data["complete"], data["success"], data["result"]) == (status, False, None, None)
    names = ("current", "total", "percent", "description")
    assert data["progress"] == {"pending": False, **dict(zip(names, progress, strict=True))}


def test_decimals(watcher: ResultWatcher, writer: ResultWriter) -> None:
    def typed(value: str) -> dict[str, str]:
        return {"__type__": "decimal", "__value__": str(Decimal(value))}

    data = told(watcher, writer, "PROGRESS", {"current": typed("2.5"), "total": typed("10"), "percent": typed("NaN")})
    assert data["progress"] == {"pending": False, "current": 2.5, "total": 10, "percent": 25, "description": ""}


def test_a_name_without_end(watcher: ResultWatcher, writer: ResultWriter) -> None:
    assert len(told(watcher, writer, "X" * 100_000, None)["state"]) == 200
