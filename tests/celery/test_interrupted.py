"""submit(), with a signal at each of its lines whose handler raises: nobody waits for what the caller never got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, group

from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.stops import Interruption, LineTracer, Point, distinct
from tests.support.tasks import adding_chain

# An exception out of a signal handler that was called in the middle of a destructor has nowhere to go.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]
Tasks = Callable[[Celery], Any]


def _one(_app: Celery) -> Any:
    return "add"


def _group(app: Celery) -> Any:
    return group(app.signature("add", (1, 1)), app.signature("add", (2, 2)), app=app)


def _chain(app: Celery) -> Any:
    return adding_chain(app, 1, 2, 3)


@pytest.mark.parametrize(
    "option", [{"on_update": print}, {"revoke_on_timeout": True}], ids=lambda option: next(iter(option))
)
@pytest.mark.parametrize("tasks", [_one, _group, _chain])
def test_submitting(
    redis_server: RedisServer,
    new_app: NewApp,
    from_celery: FromCelery,
    monkeypatch: pytest.MonkeyPatch,
    tasks: Tasks,
    option: dict[str, Any],
) -> None:
    monkeypatch.setattr(Celery, "send_task", lambda app, _name, *_, task_id, **__: app.AsyncResult(task_id))
    app = new_app(result_backend=redis_server.url())
    watcher = from_celery(app)
    assert watcher.wait_ready(WAIT)

    def submit() -> Any:
        return watcher.submit(tasks(app), (1, 2) if tasks is _one else None, **option)

    # The first one imports, and reads settings.
    submit().cancel()
    points = interrupted(submit, 0)
    # Not in a comprehension: an exception at its beginning, while it is traced, may lose Python 3.11 its stack.
    for number in distinct([point for point in points if point.code.co_name != "<listcomp>"], 1):
        interrupted(submit, number)
        wait_until(
            lambda: not watcher.pending, f"nobody to wait, after a signal at {points[number - 1]}", interval=0.001
        )
    wait_until(lambda: not watcher.stats().subscribed, "the end of all subscriptions")


def interrupted(submit: Callable[[], Any], number: int) -> list[Point]:
    """Submit, with a signal at a line of that, whose handler raises; returns the lines."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    tracer = LineTracer()
    try:
        with Interruption(tracer, number, interrupt), tracer.here():
            futures = submit()
        # Nothing was raised: there is no such line, or it is one of a destructor.
        futures.cancel()
    except KeyboardInterrupt:
        pass
    return tracer.points
