"""Revoking what was not heard of in time, where that is not possible: a line in the log, and the next one is tried."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bgresults.integrations.celery.revoking import Revoker
from tests.support import wait_until


class Control:
    """Of an application; fails as long as it has something to raise."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.revoked: list[str] = []

    def revoke(self, task_ids: list[str]) -> None:
        if self._errors:
            raise self._errors.pop()
        self.revoked += task_ids


def revoker(control: Control) -> Revoker:
    app: Any = SimpleNamespace(control=control)
    return Revoker(app)


def test_the_broker_is_away(caplog: pytest.LogCaptureFixture) -> None:
    control = Control(OSError("away"))
    made = revoker(control)
    made.revoke("a")
    wait_until(lambda: "1 tasks that expired could not be revoked: away" in caplog.text, "the line")
    wait_until(lambda: not made._running, "the end of the thread")
    made.revoke("b")
    wait_until(lambda: control.revoked == ["b"], "the next one")


def test_no_thread_is_to_be_had(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    control = Control()
    made = revoker(control)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        made.revoke("a")
    assert "task a expired and could not be revoked: can't start new thread" in caplog.text
    made.revoke("b")
    wait_until(lambda: control.revoked == ["a", "b"], "both, now that there is one")


def test_one_thread_for_all() -> None:
    held, go_on = threading.Event(), threading.Event()

    class Slow(Control):
        def revoke(self, task_ids: list[str]) -> None:
            held.set()
            go_on.wait(20)
            super().revoke(task_ids)

    control = Slow()
    made = revoker(control)
    made.revoke("a")
    assert held.wait(20)
    made.revoke("b")
    made.revoke("c")
    go_on.set()
    wait_until(lambda: control.revoked == ["a", "b", "c"], "all of them")
