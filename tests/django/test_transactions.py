"""submit_on_commit() where Django projects have their transactions: around a request, and around a test."""

from __future__ import annotations

import gc
import threading
import unittest
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse
from django.test import Client, TestCase
from django.urls import path

from bgresults.integrations.django import watcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter
from tests.support.workers import close_app

WAIT = 20

_sent: list[str] = []
_futures: list[Any] = []


def send(request: HttpRequest) -> JsonResponse:
    """What W004 advises: the task waits for the commit, and another request for the task."""
    _futures.append(watcher.submit_on_commit("add", (1, 2)))
    return JsonResponse({"sent in the view": list(_sent)})


def fail(request: HttpRequest) -> JsonResponse:
    _futures.append(watcher.submit_on_commit("add", (1, 2)))
    raise ValueError("the view is rolled back")


@transaction.non_atomic_requests
def wait(request: HttpRequest) -> JsonResponse:
    """And this is a view that does both."""
    with transaction.atomic():
        future: Any = watcher.submit_on_commit("add", (1, 2))
        before = list(_sent)
    assert _sent == [future.task_id]
    return JsonResponse({"sent before": before, "result": future.result(timeout=WAIT)})


urlpatterns = [path("send/", send), path("fail/", fail), path("wait/", wait)]


@pytest.fixture(autouse=True)
def _application(
    project: Any, redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An application whose tasks are done by this test as soon as they are sent."""
    app = Celery("web", set_as_current=False)
    app.conf.update(
        broker_url="memory://",
        result_backend=redis_server.url(),
        # Celery puts the separator behind it: before 5.6 or so in any case.
        result_backend_transport_options={"global_keyprefix": key_prefix.removesuffix("_")},
    )
    writer = ResultWriter(redis_server, key_prefix)

    def perform(_app: Any, _name: str, *_: Any, task_id: str, **__: Any) -> None:
        _sent.append(task_id)
        writer.write(task_id, 3)

    monkeypatch.setattr(Celery, "send_task", perform)
    project(
        BGRESULTS={"default": {"CELERY_APP": app}},
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["testserver"],
    )
    yield
    writer.close()
    connections.close_all()
    _sent.clear()
    _futures.clear()
    watcher.close()
    close_app(app)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Of a project with ``ATOMIC_REQUESTS``."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    return Client(raise_request_exception=False)


def test_sent_when_the_request_is_over(client: Client) -> None:
    assert client.get("/send/").json() == {"sent in the view": []}
    (future,) = _futures
    assert _sent == [future.task_id]
    assert future.result(timeout=WAIT) == 3


def test_given_up_when_the_request_is_rolled_back(client: Client) -> None:
    assert client.get("/fail/").status_code == 500
    gc.collect()
    (future,) = _futures
    wait_until(future.cancelled, "the cancellation")
    assert _sent == []


def test_waited_for_outside_of_the_transaction(client: Client) -> None:
    assert client.get("/wait/").json() == {"sent before": [], "result": 3}


def test_in_a_test_case() -> None:
    """A ``TestCase`` never commits: ``captureOnCommitCallbacks()`` has the task sent."""

    class Case(TestCase):
        databases = {"default"}  # noqa: RUF012 - as Django has it

        def runTest(self) -> None:
            with self.captureOnCommitCallbacks(execute=True):
                future: Any = watcher.submit_on_commit("add", (1, 2))
                assert _sent == []
            assert future.result(timeout=WAIT) == 3

    outcome = unittest.TestSuite([Case()]).run(unittest.TestResult())
    assert outcome.testsRun == 1
    assert outcome.wasSuccessful(), [*outcome.errors, *outcome.failures]


def test_a_query_in_a_callback() -> None:
    """On the watcher's thread, with a connection that is its own and stays open unless the callback closes it."""
    seen: list[Any] = []

    def note(future: Any) -> None:
        own = connections["default"]
        try:
            with own.cursor() as cursor:
                cursor.execute("SELECT 40 + %s", [future.result()])
                seen.append((threading.current_thread().name, own.in_atomic_block, cursor.fetchone()))
        finally:
            own.close()
        seen.append(own.connection)

    with transaction.atomic():
        task_id = str(uuid.uuid4())
        future: Any = watcher.watch(task_id)
        # Before there is a result: afterwards it would be called here, in this thread.
        future.add_done_callback(note)
        watcher.submit("add", (1, 2), task_id=task_id)
        wait_until(lambda: len(seen) == 2, "the callback")
    assert seen == [("bgresults-web", False, (43,)), None]
