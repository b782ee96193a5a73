"""Responses of Django and Flask, and the rules of WSGI, without a server."""

from __future__ import annotations

import wsgiref.util
import wsgiref.validate
from typing import Any

import pytest
from flask import Flask, request

from bgresults import ResultWatcher
from bgresults.integrations.flask import BgResults, event_stream
from bgresults.sse import HEADERS, sse
from tests.sse.reading import Event, parsed
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until


def names(sent: bytes) -> list[str]:
    return [event.name for event in parsed([sent])]


class TestFlask:
    @pytest.fixture
    def app(self, redis_url: str, watcher: ResultWatcher) -> Any:
        app = Flask("web")
        app.config["BGRESULTS_URL"] = redis_url
        results = BgResults(app)

        @app.get("/by/<who>/<task_id>")
        def events(who: str, task_id: str) -> Any:
            chosen: Any = {"watcher": watcher, "extension": results, "application": app.extensions["bgresults"]}[who]
            return event_stream(request, chosen, task_id, timeout=0.05, retry=1)

        yield app
        results.close()

    @pytest.mark.parametrize("who", ["watcher", "extension", "application"])
    def test_a_response(self, app: Flask, who: str) -> None:
        with app.test_client().get(f"/by/{who}/{new_id()}") as response:
            assert response.status_code == 200
            assert {name: response.headers[name] for name in HEADERS} == HEADERS
            assert next(iter(parsed([response.data]))) == Event("[retry]", 1000)
            assert names(response.data) == ["[retry]", "end"]

    def test_a_browser_that_has_seen_the_end(self, app: Flask) -> None:
        client, path = app.test_client(), f"/by/watcher/{new_id()}"
        *_, end = parsed([client.get(path).data])
        again = client.get(path, headers={"Last-Event-ID": end.last_event_id})
        assert (again.status_code, again.data) == (204, b"")

    def test_nobody_reads_it(self, app: Flask, watcher: ResultWatcher) -> None:
        """The server closes the answer to a HEAD, and that closes the stream."""
        with app.test_client().head(f"/by/watcher/{new_id()}") as response:
            assert response.status_code == 200
        assert watcher.pending == 0
        wait_until(lambda: watcher.stats().cancelled == 1, "the count")

    def test_what_makes_no_sense(self, app: Flask, watcher: ResultWatcher) -> None:
        with app.test_request_context(), pytest.raises(TypeError, match="patience"):
            event_stream(request, watcher, new_id(), patience=1)


class TestDjango:
    @pytest.fixture(autouse=True)
    def _configured(self) -> None:
        import django
        from django.conf import settings

        if not settings.configured:
            settings.configure(SECRET_KEY="of a test", USE_TZ=True)
            django.setup()

    def test_under_wsgi(self, watcher: ResultWatcher) -> None:
        from django.test import RequestFactory

        from bgresults.integrations.django import event_stream as django_event_stream

        request = RequestFactory().get("/")
        response: Any = django_event_stream(request, watcher, new_id(), timeout=0.05)
        assert {name: response[name] for name in HEADERS} == HEADERS
        assert not response.is_async
        sent = b"".join(response)
        assert names(sent) == ["[retry]", "end"]
        response.close()
        *_, end = parsed([sent])
        again = RequestFactory().get("/", headers={"Last-Event-ID": end.last_event_id})
        assert django_event_stream(again, watcher, new_id()).status_code == 204

    def test_under_asgi_and_wrapped(self, watcher: ResultWatcher) -> None:
        """As the Django REST framework wraps requests."""
        from django.test import AsyncRequestFactory

        from bgresults.integrations.django import event_stream as django_event_stream

        class Wrapping:
            def __init__(self, request: Any) -> None:
                self._request = request

        request: Any = Wrapping(AsyncRequestFactory().get("/"))
        response: Any = django_event_stream(request, watcher, new_id())
        assert response.is_async
        response.close()
        assert watcher.stats().watched == 0


def test_the_rules_of_wsgi(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """An application of three lines, checked by the standard library."""
    task_id = new_id()
    writer.write(task_id, 1)

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS.items()))
        return sse(watcher, task_id)

    environ: dict[str, Any] = {"QUERY_STRING": ""}
    wsgiref.util.setup_testing_defaults(environ)
    answer = wsgiref.validate.validator(app)(environ, lambda *_: lambda _body: None)
    chunks = list(answer)
    answer.close()  # type: ignore[attr-defined]
    assert names(b"".join(chunks)) == ["[retry]", "state", "end"]
    assert watcher.pending == 0
