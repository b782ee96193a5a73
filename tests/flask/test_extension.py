"""The Flask extension: which application is meant, and what using it costs."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from flask import Flask, has_app_context

from bgresults import ResultWatcher, WatcherClosedError
from bgresults.integrations.flask import BgResults
from tests.flask.conftest import NewApp
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id
from tests.support.threads import in_threads
from tests.support.waiting import wait_until

URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def writer(redis_server: Any) -> Any:
    """Plays the workers."""
    made = ResultWriter(redis_server)
    yield made
    made.close()


def test_nothing_happens_before_the_first_watch(new_app: NewApp, redis_url: str, results: BgResults) -> None:
    before = threading.active_count()
    app = new_app(BGRESULTS_URL=redis_url)
    watcher = results.watcher
    assert watcher is app.extensions["bgresults"].watcher
    assert watcher.stats().state == "idle"
    assert threading.active_count() == before
    results.watch(new_id())
    assert watcher.wait_ready(10)
    assert "bgresults-web" in [thread.name for thread in threading.enumerate()]


def test_a_view(new_app: NewApp, redis_url: str, results: BgResults, writer: ResultWriter) -> None:
    app = new_app(BGRESULTS_URL=redis_url)
    task_id = new_id()
    writer.store(task_id, "stored")

    @app.get("/result")
    def result() -> str:
        value: str = results.watch(task_id).result(timeout=10)
        return value

    assert app.test_client().get("/result").text == "stored"


class TestWhichApplication:
    """Within a context, outside of one, with one application and with several."""

    def test_the_only_one_needs_no_context(self, new_app: NewApp, results: BgResults) -> None:
        app = new_app(BGRESULTS_URL=URL)
        assert results.watcher is app.extensions["bgresults"].watcher
        with app.app_context():
            assert results.watcher is app.extensions["bgresults"].watcher

    def test_given_to_the_constructor(self, new_app: NewApp) -> None:
        app = new_app(extension=None, BGRESULTS_URL=URL)
        assert BgResults(app).watcher is app.extensions["bgresults"].watcher

    def test_several(self, new_app: NewApp, results: BgResults) -> None:
        one, other = new_app("one", BGRESULTS_URL=URL), new_app("other", BGRESULTS_URL=f"{URL}1")
        with one.app_context():
            first = results.watcher
            with other.app_context():
                assert results.watcher is other.extensions["bgresults"].watcher is not first
            assert results.watcher is first
        with pytest.raises(RuntimeError, match=r"no application context, and this BgResults was given 2 applications"):
            _ = results.watcher

    def test_none(self, results: BgResults) -> None:
        with pytest.raises(RuntimeError, match=r"no applications.*call init_app\(app\) first"):
            results.watch("an-id")

    def test_one_that_was_not_given(self, new_app: NewApp, results: BgResults) -> None:
        new_app(BGRESULTS_URL=URL)
        with Flask("stranger").app_context(), pytest.raises(RuntimeError, match=r"'stranger' was not given"):
            _ = results.watcher

    def test_twice(self, new_app: NewApp, results: BgResults) -> None:
        app = new_app(BGRESULTS_URL=URL)
        with pytest.raises(RuntimeError, match=r"'web' has a BgResults already"):
            BgResults(app)

    def test_in_other_threads(self, new_app: NewApp, results: BgResults) -> None:
        """The first use in many threads at once: one watcher."""
        app = new_app(BGRESULTS_URL=URL)

        def look(_: int) -> ResultWatcher:
            with app.app_context():
                return results.watcher

        assert len(set(map(id, in_threads(16, look)))) == 1

    def test_the_current_one_may_be_gone(self, results: BgResults) -> None:
        """An application that a test made is not kept alive."""
        app = Flask("short-lived")
        app.config["BGRESULTS_URL"] = URL
        results.init_app(app)
        _ = results.watcher
        gone = weakref.ref(app)
        del app
        gc.collect()
        assert gone() is None
        assert not has_app_context()


def test_closing(new_app: NewApp, redis_url: str, results: BgResults, writer: ResultWriter) -> None:
    """Pending futures end; the next use opens a new watcher."""
    app = new_app(BGRESULTS_URL=redis_url)
    first, future = results.watcher, results.watch(new_id())
    results.close()
    results.close()
    with pytest.raises(WatcherClosedError):
        future.result(10)
    assert first.closed
    task_id = new_id()
    writer.store(task_id, 5)
    assert app.extensions["bgresults"].watch_many([task_id])[0].result(10) == 5
    assert results.watcher is not first


def test_closing_what_was_never_used(new_app: NewApp, results: BgResults) -> None:
    new_app(BGRESULTS_URL=URL)
    results.close()


def test_a_forked_child(new_app: NewApp, redis_url: str, results: BgResults, writer: ResultWriter) -> None:
    """The same watcher, with connections of its own."""
    app = new_app(BGRESULTS_URL=redis_url)
    inherited, stored = new_id(), new_id()
    future = results.watch(inherited)
    assert results.watcher.wait_ready(10)
    wait_until(lambda: inherited in writer.channels(), "the subscription")
    writer.store(stored, "in the child")

    def child() -> None:
        with app.app_context():
            assert results.watch(stored).result(10) == "in the child"

    assert run_in_child(child) == 0
    writer.write(inherited, "in the parent")
    assert future.result(10) == "in the parent"
    assert results.watcher.stats().reconnects == 0
