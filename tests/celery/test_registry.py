"""One application, one watcher."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, current_app

from bgresults import ResultWatcher, RetryPolicy, WatcherClosedError
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.testing import RedisServer
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id
from tests.support.threads import in_threads

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


def test_two_calls_give_the_same(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(result_backend=redis_server.url())
    watcher = from_celery(app)
    assert isinstance(watcher, CeleryResultWatcher)
    assert from_celery(app) is watcher
    assert watcher.wait_ready(WAIT)
    assert from_celery(app) is watcher
    assert from_celery(new_app(result_backend=redis_server.url())) is not watcher, "another application"


def test_many_threads_get_the_same(new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app()
    found = in_threads(16, lambda _: from_celery(app))
    assert len({id(watcher) for watcher in found}) == 1


def test_a_new_one_after_closing(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(result_backend=redis_server.url())
    with from_celery(app) as first:
        assert first.wait_ready(WAIT)
    second = from_celery(app)
    assert second is not first
    assert second.wait_ready(WAIT)
    with pytest.raises(WatcherClosedError):
        first.watch(new_id())


def test_closed_before_it_was_used(new_app: NewApp, from_celery: FromCelery) -> None:
    watcher = from_celery(new_app())
    watcher.close()
    assert watcher.closed
    assert watcher.stats().state == "closed"


def test_other_overrides(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(result_backend=redis_server.url())
    watcher = from_celery(app, max_pending=5, retry=RetryPolicy(maximum=1.0))
    assert from_celery(app, max_pending=5, retry=RetryPolicy(maximum=1.0)) is watcher
    for other in ({}, {"max_pending": 6}, {"url": "redis://:secret@localhost"}):
        with pytest.raises(ValueError, match="overrides") as caught:
            from_celery(app, **other)
        assert "secret" not in str(caught.value)
    watcher.close()
    assert from_celery(app) is not watcher


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"max_pending": 0}, ValueError),
        ({"max_pendign": 5}, TypeError),
        ({"retry": 3}, TypeError),
        ({"on_disconnect": "panic"}, ValueError),
        ({"url": "nonsense://"}, ValueError),
    ],
)
def test_overrides_that_make_no_sense(
    new_app: NewApp, from_celery: FromCelery, overrides: dict[str, Any], error: type[Exception]
) -> None:
    """At the call, and not at the first use in a view."""
    with pytest.raises(error):
        from_celery(new_app(), **overrides)


@pytest.mark.parametrize("value", [None, "proj.celery:app", object(), Celery])
def test_no_application(value: Any) -> None:
    with pytest.raises(TypeError, match="Celery application"):
        ResultWatcher.from_celery(value)


def test_the_current_application(new_app: NewApp, from_celery: FromCelery) -> None:
    assert from_celery(current_app) is from_celery(current_app._get_current_object())


def test_a_watcher_for_each_request_is_noticed(
    redis_server: RedisServer, new_app: NewApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(result_backend=redis_server.url())
    for _ in range(25):
        with ResultWatcher.from_celery(app):
            pass
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "Make one for each process" in warnings[0].getMessage()
    assert "'web'" in warnings[0].getMessage()


def test_the_same_one_for_each_request_is_fine(
    new_app: NewApp, from_celery: FromCelery, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()
    for _ in range(25):
        from_celery(app)
    assert not caplog.records


def test_an_application_that_goes_takes_its_watcher_along(redis_server: RedisServer) -> None:
    app = Celery("short-lived", set_as_current=False, broker="memory://", backend=redis_server.url())
    watcher = ResultWatcher.from_celery(app)
    assert watcher.wait_ready(WAIT)
    seen = weakref.ref(watcher)
    app.close()
    del app, watcher
    gc.collect()
    assert seen() is None


def test_a_forked_child(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    """Made in the parent of a pre-fork server, configured and used in the child."""
    app = new_app(result_backend=redis_server.url())
    watcher = from_celery(app)

    def child() -> None:
        assert from_celery(app) is watcher
        writer = ResultWriter(redis_server)
        task_id = new_id()
        writer.store(task_id, 1)
        assert watcher.watch(task_id).result(WAIT) == 1

    assert run_in_child(child) == 0
    assert watcher.wait_ready(WAIT)
    assert run_in_child(child) == 0
    assert watcher.stats().reconnects == 0


def test_without_celery() -> None:
    """The core does not need it, and says what from_celery() needs."""
    program = (
        "import sys; sys.modules['celery'] = None\n"
        "from bgresults import ResultWatcher\n"
        "try:\n    ResultWatcher.from_celery(object())\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "pip install 'bgresults[celery]'" in ended.stdout
