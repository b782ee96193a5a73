"""Server-sent events through real web servers: what comes at once, who leaves, and what many of them cost."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest

from bgresults.testing import RedisServer
from bgresults.testing.sockets import connections_to
from bgresults.testing.web import WebServer
from tests.servers.conftest import FLASK_APP, Gunicorn, Serve
from tests.sse.reading import Event, parsed
from tests.support.broker import ReplyWriter
from tests.support.results import ResultWriter, new_id, new_ids
from tests.support.rpc_workers import queue_exists
from tests.support.waiting import wait_until

DJANGO = "tests.servers.apps.django_app"
# A thread for each open page.
THREADS = 'worker_class = "gthread"\nworkers = {workers}\nthreads = 64\ngraceful_timeout = 1\n'
PATIENCE = 30


class Page:
    """What a browser's EventSource is to a server: one request, and the events that come."""

    def __init__(self, server: WebServer, path: str, last_event_id: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()
        self._events = parsed(iter(lambda: self.response.read1(65536), b""))

    def event(self) -> Event:
        """The next that is no comment."""
        return next(event for event in self._events if not event.name.startswith("["))

    def events(self) -> list[Event]:
        """All until the server ends the response."""
        return [event for event in self._events if not event.name.startswith("[")]

    def leave(self) -> None:
        """Close the tab."""
        self.response.close()
        self._connection.close()


Open = Callable[..., Page]
ServeDjango = Callable[..., WebServer]


@pytest.fixture
def page() -> Iterator[Open]:
    """``page(server, path)`` → an open Page, which is left at the end."""
    made: list[Page] = []

    def begin(*arguments: Any) -> Page:
        made.append(Page(*arguments))
        return made[-1]

    yield begin
    for each in made:
        each.leave()


@pytest.fixture
def writer(redis_server: RedisServer) -> Iterator[ResultWriter]:
    """Plays the workers."""
    made = ResultWriter(redis_server)
    yield made
    made.close()


def settings_of(url: str) -> dict[str, str]:
    return {"broker_url": "memory://", "result_backend": url}


def uvicorn(app: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", app]


@dataclass(frozen=True)
class Way:
    """A server, an application, and the path of its events. Without a command it is gunicorn's, with this file."""

    app: str
    path: str = "/events/"
    command: Sequence[str] = ()
    configuration: str = THREADS.format(workers=1)


WSGI = f"{DJANGO}:wsgi"
UWSGI = [
    str(Path(sys.executable).with_name("uwsgi")),
    *("--http-socket", "127.0.0.1:{port}", "--module", FLASK_APP, "--home", sys.prefix),
    *("--master", "--enable-threads", "--threads", "8", "--die-on-term"),
]
WAITRESS = [sys.executable, "-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=16", FLASK_APP]
WAYS = {
    "gthread-flask": Way(FLASK_APP),
    "gthread-django": Way(WSGI),
    "gthread-django-async": Way(WSGI, "/awaited/"),
    "uvicorn-django": Way("", command=uvicorn(f"{DJANGO}:asgi")),
    "uvicorn-django-async": Way("", "/awaited/", command=uvicorn(f"{DJANGO}:asgi")),
    "uvicorn-asgi": Way("", command=uvicorn("tests.servers.apps.asgi_app:app")),
    "gevent-flask": Way(FLASK_APP, configuration='worker_class = "gevent"\nworkers = 1\n'),
    "waitress-flask": Way("", command=WAITRESS),
    "uwsgi-flask": Way("", command=UWSGI),
}
# What is served rarely is tried less often.
RARE = {"gevent-flask", "waitress-flask", "uwsgi-flask"}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name in RARE else ()) for name in WAYS])
def way(request: pytest.FixtureRequest, gunicorn: Gunicorn, serve: Serve) -> Callable[[str], tuple[WebServer, str]]:
    """``way(url)`` → a server whose application has its results there, and the path of its events."""
    chosen = WAYS[request.param]

    def start(url: str) -> tuple[WebServer, str]:
        if not chosen.command:
            return gunicorn(chosen.configuration, settings_of(url), app=chosen.app), chosen.path
        if not Path(chosen.command[0]).exists():
            pytest.skip(f"no {chosen.command[0]}")
        return serve(chosen.command, settings_of(url)), chosen.path

    return start


def no_trouble(server: WebServer) -> None:
    log = server.log()
    assert not any(word in log for word in ("Traceback", "Warning", "[ERROR]", "[CRITICAL]")), log


def test_events_come_one_by_one_and_who_leaves_is_forgotten(
    request: pytest.FixtureRequest,
    way: Callable[[str], tuple[WebServer, str]],
    redis_url: str,
    writer: ResultWriter,
    page: Open,
) -> None:
    """Also where Django would collect a stream that is not of its server's kind, or compress it in blocks."""
    if "uvicorn-django" in request.node.name and django.VERSION < (5, 0):
        pytest.skip("under ASGI, Django 4.2 does not tell a stream that its client has gone")
    server, path = way(redis_url)
    task_id, other = new_ids(2)
    follower = page(server, f"{path}{task_id}")
    assert follower.response.status == 200
    assert follower.response.getheader("Content-Type") == "text/event-stream"
    assert follower.response.getheader("Cache-Control") == "no-cache, no-transform"
    assert follower.response.getheader("X-Accel-Buffering") == "no"
    assert follower.response.getheader("Content-Encoding") in (None, "identity")
    leaver = page(server, f"{path}{other}?heartbeat=0.2")
    wait_until(lambda: writer.channels() == {task_id, other}, "the subscriptions", PATIENCE)
    for number in range(3):
        writer.write(task_id, {"current": number, "total": 3}, "PROGRESS")
        assert follower.event().json["progress"]["current"] == number, "each is there before the next is written"
    leaver.leave()
    wait_until(lambda: writer.channels() == {task_id}, "the end of the one that has left", PATIENCE)
    writer.write(task_id, "done")
    state, end = follower.events()
    assert (state.name, end.name, end.json["result"]) == ("state", "end", "done")
    wait_until(lambda: not writer.channels(), "the end of the other", PATIENCE)

    again = page(server, f"{path}{task_id}", state.last_event_id)
    assert [event.name for event in again.events()] == ["end"]
    stop = page(server, f"{path}{task_id}", end.last_event_id)
    assert stop.response.status == 204, "which a browser takes as a request not to come again"
    assert stop.response.read() == b""
    no_trouble(server)


def test_fifty_pages_over_two_connections(
    gunicorn: Gunicorn, redis_server: RedisServer, writer: ResultWriter, page: Open
) -> None:
    server = gunicorn(THREADS.format(workers=1), settings_of(redis_server.url()))
    _, answer = server.get("/")
    ids = new_ids(50)
    pages = [page(server, f"/events/{task_id}?heartbeat=0.5") for task_id in ids]
    wait_until(lambda: writer.channels() == set(ids), "the subscriptions", PATIENCE)
    for task_id in ids:
        writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
    assert [each.event().json["task_id"] for each in pages] == ids
    assert connections_to(redis_server.port, answer["pid"]) in (2, None)
    for task_id in ids[:25]:
        writer.write(task_id, task_id)
    for each, task_id in zip(pages[:25], ids, strict=False):
        assert [event.json["result"] for event in each.events()] == [task_id] * 2
    for each in pages[25:]:
        each.leave()
    wait_until(lambda: not writer.channels(), "the end of all subscriptions", PATIENCE)
    assert connections_to(redis_server.port, answer["pid"]) in (2, None)
    no_trouble(server)


@pytest.mark.parametrize("kind", ["gthread", "uvicorn"])
def test_an_outage(gunicorn: Gunicorn, serve: Serve, own_redis: RedisServer, page: Open, kind: str) -> None:
    settings = settings_of(own_redis.url())
    if kind == "uvicorn":
        server = serve(uvicorn(f"{DJANGO}:asgi"), settings)
    else:
        server = gunicorn(THREADS.format(workers=1), settings, app=f"{DJANGO}:wsgi")
    task_id = new_id()
    follower = page(server, f"/events/{task_id}")
    writer = ResultWriter(own_redis)
    wait_until(lambda: writer.channels() == {task_id}, "the subscription", PATIENCE)
    writer.close()
    own_redis.kill()
    lost = follower.event()
    assert (lost.name, lost.json) == ("connection", {"state": "reconnecting"})
    own_redis.start()
    assert follower.event().json == {"state": "connected"}
    writer = ResultWriter(own_redis)
    writer.write(task_id, "done")
    writer.close()
    assert [event.name for event in follower.events()] == ["state", "end"]
    no_trouble(server)


def test_a_browser_that_comes_back_to_another_worker(
    gunicorn: Gunicorn, redis_url: str, writer: ResultWriter, page: Open
) -> None:
    """Whatever worker answers, what the page has seen is not sent again."""
    server = gunicorn(THREADS.format(workers=3), settings_of(redis_url))
    task_id = new_id()
    writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
    seen = page(server, f"/events/{task_id}").event()
    pages = [page(server, f"/events/{task_id}", seen.last_event_id) for _ in range(12)]
    newcomers = [page(server, f"/events/{task_id}") for _ in range(6)]
    assert {each.event() for each in newcomers} == {seen}
    # Each worker has read the state by now, or reads it before what comes next.
    writer.write(task_id, "done")
    for each in pages:
        state, end = each.events()
        assert (state.json["result"], end.name) == ("done", "end")


@pytest.mark.parametrize("hook", [False, True])
def test_a_reload(gunicorn: Gunicorn, redis_url: str, writer: ResultWriter, page: Open, hook: bool) -> None:
    """The old worker ends although a page is open, and the page goes on with the new one."""
    configuration = THREADS.format(workers=1)
    if hook:
        configuration += "from bgresults.integrations.gunicorn import worker_exit\n"
    else:
        # Then a worker of threads ends only when gunicorn has not heard of it for so long.
        configuration += "timeout = 10\n"
    server = gunicorn(configuration, settings_of(redis_url))
    _, before = server.get("/")
    task_id = new_id()
    follower = page(server, f"/events/{task_id}")
    wait_until(lambda: writer.channels() == {task_id}, "the subscription", PATIENCE)
    writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
    seen = follower.event()
    server.send_signal(signal.SIGHUP)
    if hook:
        (end,) = follower.events()
        assert (end.name, end.json["reason"]) == ("end", "closed")
    else:
        with pytest.raises(http.client.IncompleteRead):
            follower.events()
    wait_until(lambda: server.get("/")[1]["pid"] != before["pid"], "the new worker", PATIENCE)
    again = page(server, f"/events/{task_id}", seen.last_event_id)
    writer.write(task_id, "done")
    assert [event.name for event in again.events()] == ["state", "end"]


@pytest.mark.rabbitmq
def test_over_a_broker(serve: Serve, rabbitmq_url: str, page: Open) -> None:
    """With a reply queue for each task, which any process may watch."""
    server = serve(
        uvicorn(f"{DJANGO}:asgi"),
        {"broker_url": rabbitmq_url, "result_backend": f"{rabbitmq_url}?binding=task"},
    )
    task_id = new_id()
    follower = page(server, f"/events/{task_id}")
    wait_until(lambda: queue_exists(rabbitmq_url, task_id), "the reply queue", PATIENCE)
    replies = ReplyWriter(rabbitmq_url)
    replies.write(task_id, task_id, {"current": 1, "total": 2}, "PROGRESS")
    assert follower.event().json["state"] == "PROGRESS"
    replies.write(task_id, task_id, "done")
    replies.close()
    state, end = follower.events()
    assert (state.json["result"], end.name) == ("done", "end")
    no_trouble(server)
