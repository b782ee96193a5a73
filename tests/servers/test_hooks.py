"""The hooks of gunicorn, called as gunicorn calls them."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from bgresults import ResultWatcher, WatcherClosedError
from bgresults.integrations.flask import BgResults
from bgresults.integrations.gunicorn import post_fork, post_worker_init, worker_exit
from tests.support.results import new_id


def gunicorn_worker(**attributes: Any) -> Any:
    """What the hooks see of one."""
    return SimpleNamespace(**{"pid": os.getpid(), "log": logging.getLogger("gunicorn.error"), **attributes})


def test_a_worker_starts_its_watchers(redis_url: str) -> None:
    with ResultWatcher(redis_url) as watcher, ResultWatcher(redis_url) as closed:
        closed.close()
        post_fork(None, gunicorn_worker())
        assert watcher.stats().thread_alive
        assert watcher.wait_ready(10)
        assert closed.closed


def test_a_worker_that_will_patch_starts_them_later(redis_url: str) -> None:
    with ResultWatcher(redis_url) as watcher:
        worker = gunicorn_worker(patch=lambda: None)
        post_fork(None, worker)
        assert not watcher.stats().thread_alive
        post_worker_init(worker)
        assert watcher.stats().thread_alive


def test_the_watcher_of_a_flask_application(redis_url: str) -> None:
    """It is made when somebody asks for it, so nobody else would start it."""
    app = Flask("web")
    app.config["BGRESULTS_URL"] = redis_url
    results = BgResults(app)
    post_worker_init(gunicorn_worker(wsgi=app))
    assert results.watcher.stats().thread_alive
    results.close()


def test_what_cannot_be_started_is_told_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("web")
    BgResults(app)
    post_worker_init(gunicorn_worker(wsgi=app))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "ValueError: config of Flask app 'web': set BGRESULTS_CELERY_APP" in caplog.text


def test_the_end_of_a_worker(redis_url: str) -> None:
    with ResultWatcher(redis_url) as watcher, ResultWatcher(redis_url):
        future = watcher.watch(new_id())
        assert watcher.wait_ready(10)
        worker_exit(None, gunicorn_worker())
        with pytest.raises(WatcherClosedError):
            future.result(10)
        assert watcher.closed


def test_a_master_that_reports_the_end_of_a_worker(redis_url: str) -> None:
    """What it closed would be closed in all workers to come."""
    with ResultWatcher(redis_url) as watcher:
        worker_exit(None, gunicorn_worker(pid=1))
        assert not watcher.closed
