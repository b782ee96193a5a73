"""The health view: 200 or 503, and nothing that an outsider need not know."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import RequestFactory
from django.urls import resolve, reverse

from bgresults.integrations.django import views, watchers
from bgresults.integrations.django.views import health
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT

WAIT = 20


def asked(**arguments: Any) -> tuple[int, dict[str, Any]]:
    response = health(RequestFactory().get("/health/"), **arguments)
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    return response.status_code, json.loads(response.content)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection may take longer on a machine that is busy; who refuses is not waited for."""
    monkeypatch.setattr(views, "_PATIENCE", WAIT)


@pytest.mark.usefixtures("patient")
def test_healthy(project: Any, redis_server: RedisServer) -> None:
    project(BGRESULTS={"default": {"URL": redis_server.url()}, "other": {"URL": "memory://"}})
    status, told = asked()
    assert (status, told["healthy"]) == (200, True)
    assert {alias: each["state"] for alias, each in told["watchers"].items()} == {
        "default": "draining",
        "other": "draining",
    }
    assert "address" not in told["watchers"]["default"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("details", [True, False, None])
def test_one_of_them_is_not(project: Any, redis_server: RedisServer, details: bool | None) -> None:
    nobody = f"redis://:sesame@127.0.0.1:{CLOSED_PORT}/0"
    project(BGRESULTS={"default": {"URL": redis_server.url()}, "bad": {"URL": nobody}})
    status, told = asked(details=details)
    assert (status, told["healthy"]) == (503, False)
    assert told["watchers"]["default"]["healthy"]
    bad = told["watchers"]["bad"]
    assert (bad["healthy"], bad["connected"]) == (False, False)
    assert ("last_error" in bad, "address" in bad) == ((True, True) if details else (False, False))
    assert "sesame" not in json.dumps(told)


def test_with_debug(project: Any) -> None:
    project(BGRESULTS={"default": {"URL": "memory://"}}, DEBUG=True)
    assert asked()[1]["watchers"]["default"]["address"] == "memory://"


@pytest.mark.usefixtures("patient")
def test_an_outage_and_its_end(project: Any, own_redis: RedisServer) -> None:
    project(BGRESULTS={"default": {"URL": own_redis.url(), "RETRY": {"INITIAL": 0.01, "MAXIMUM": 0.05}}})
    assert asked()[0] == 200
    own_redis.kill()
    wait_until(lambda: asked()[0] == 503, "the outage to be noticed")
    own_redis.start()
    wait_until(lambda: asked()[0] == 200, "the end of the outage")
    assert watchers["default"].stats().reconnects == 1


def test_an_application_that_cannot_be_watched(project: Any) -> None:
    project(BGRESULTS={"default": {"CELERY_APP": "tests.django.apps:polled"}})
    status, told = asked(details=True)
    assert status == 503
    assert "cannot be watched" in told["watchers"]["default"]["last_error"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("details", [True, False])
def test_an_alias_that_makes_no_sense(project: Any, details: bool) -> None:
    """It is an answer, and not an error of the view: the others are told of all the same."""
    project(BGRESULTS={"default": {"URL": "memory://"}, "bad": {"CELERY_APP": "no_such_module:app"}})
    status, told = asked(details=details)
    assert status == 503
    assert told["watchers"]["default"]["healthy"]
    assert not told["watchers"]["bad"]["healthy"]
    assert ("no_such_module" in json.dumps(told)) == details


@pytest.mark.usefixtures("patient")
def test_reading_only(project: Any) -> None:
    project(BGRESULTS={"default": {"URL": "memory://"}})
    assert health(RequestFactory().post("/health/")).status_code == 405
    assert health(RequestFactory().head("/health/")).status_code == 200


def test_its_urls(project: Any) -> None:
    project(ROOT_URLCONF="bgresults.integrations.django.urls")
    assert resolve("/health/").func is health
    assert reverse("health") == "/health/"
    assert health.login_required is False
