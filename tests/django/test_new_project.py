"""docs/django.md, done as a new user would: each file that it shows, with a real worker, Redis and web server."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import django
import pytest

from bgresults.testing import RedisServer
from bgresults.testing.sockets import connections_to
from tests.django.new_project import ROOT, NewProject, documented_files, get
from tests.servers.page import block
from tests.sse.reading import parsed
from tests.support import wait_until

# Several processes are started, one after the other.
pytestmark = pytest.mark.timeout(180)

WAIT = 30
# As docs/deployment.md says, but not so long.
LIMITED = ["--log-level", "warning", "--timeout-graceful-shutdown", "1"]
# Beside what the page shows: a task whose end a test decides on, and the async views.
MORE_URLS = """
import asyncio

from proj import views


async def value_of(request, task_id):
    return JsonResponse({"value": await asyncio.wrap_future(watcher.watch(task_id))})


urlpatterns += [
    path("future/<str:task_id>/", value_of),
    path("async/sum/<int:x>/<int:y>/", views.sum_of),
    path("events/<str:task_id>/", views.events),
]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Iterator[NewProject]:
    made = NewProject(tmp_path_factory.mktemp("project"), server)
    try:
        made.start_worker()
        yield made
    finally:
        made.close()


def test_the_page_shows_all_files() -> None:
    names = ["proj/settings.py", "proj/celery.py", "proj/urls.py", "proj/views.py"]
    assert list(documented_files()) == names


def test_as_the_page_says(project: NewProject) -> None:
    """The doctor, the checks, a view that waits, and the health of the process."""
    assert "has arrived" in project.run("manage.py", "bgresults", "doctor").stdout
    checked = project.run("manage.py", "check", "--tag", "bgresults", "--deploy")
    assert "no issues" in checked.stdout
    address = project.serve("manage.py", "runserver", "--noreload", "PORT")
    assert json.loads(get(f"{address}/sum/1/2/")) == {"sum": 3}
    told = json.loads(get(f"{address}/bgresults/health/"))
    assert told["healthy"]
    assert told["watchers"]["default"]["state"] == "draining"
    with ThreadPoolExecutor(16) as threads:
        sums = threads.map(lambda x: json.loads(get(f"{address}/sum/{x}/1/"))["sum"], range(32))
    assert list(sums) == list(range(1, 33))


def test_as_the_readme_says(project: NewProject) -> None:
    """Its settings are those of the page, and its view gets a result."""
    settings, view = block("In a Django project", "python", page=ROOT / "README.md").split("\n\n", 1)
    for line in settings.splitlines():
        assert line.partition("  # ")[0] in documented_files()["proj/settings.py"].splitlines()
    program = f"""
import django
django.setup()
from types import SimpleNamespace
from proj.celery import add
build_report, request = add.s(1), SimpleNamespace(user=SimpleNamespace(id=41))
{view}
print(future.result(timeout={WAIT}))
"""
    assert project.run("-c", program, DJANGO_SETTINGS_MODULE="proj.settings").stdout == "42\n"


def test_gunicorn_with_hooks(project: NewProject, server: RedisServer) -> None:
    """A worker is connected before its first request, although nobody has asked for a watcher yet."""
    project.write(
        "gunicorn.conf.py", block("Hooks, which are optional", "python") + block("gunicorn, threads", "python")
    )
    address = project.serve("-m", "gunicorn", "-w", "1", "-b", "127.0.0.1:PORT", "proj.wsgi")
    log = (project.path / f"server-{urlsplit(address).port}.log").read_text()
    pid = int(log.split("Booting worker with pid: ")[1].split()[0])
    wait_until(lambda: connections_to(server.port, pid) == 2, f"its two connections: {log}", WAIT)
    assert json.loads(get(f"{address}/sum/1/2/")) == {"sum": 3}


def test_under_asgi(project: NewProject, server: RedisServer) -> None:
    """uvicorn: coroutines that await a future or states, those whose reader goes away, and an end in between."""
    pytest.importorskip("uvicorn")
    _serves_streams(project, server, notices_departures=django.VERSION >= (5, 0))


def _serves_streams(project: NewProject, server: RedisServer, *, notices_departures: bool) -> None:
    project.write("proj/urls.py", documented_files()["proj/urls.py"] + MORE_URLS)
    address = project.serve("-m", "uvicorn", "proj.asgi:application", "--port", "PORT", *LIMITED)
    assert json.loads(get(f"{address}/async/sum/1/2/")) == {"sum": 3}
    assert json.loads(get(f"{address}/sum/2/2/")) == {"sum": 4}, "and a view that blocks a thread"
    host = urlsplit(address).netloc
    leaves, awaits, stays = (http.client.HTTPConnection(host, timeout=WAIT) for _ in range(3))
    with server.client() as client, contextlib.closing(leaves), contextlib.closing(awaits), contextlib.closing(stays):

        def watched() -> set[str]:
            return {channel.decode().rpartition("meta-")[2] for channel in client.pubsub_channels()}

        leaves.request("GET", "/events/leaves/")
        awaits.request("GET", "/future/awaits/")
        stays.request("GET", "/events/stays/")
        wait_until(lambda: watched() == {"leaves", "awaits", "stays"}, "all requests", WAIT)
        _tell(client, "stays", "STARTED")
        response = stays.getresponse()
        events = parsed(iter(response.readline, b""))
        assert next(events).name == "[retry]"
        assert next(events).json["state"] == "STARTED"
        leaves.close()
        awaits.close()
        if not notices_departures:
            _tell(client, "leaves", "SUCCESS")
            _tell(client, "awaits", "SUCCESS")
        wait_until(lambda: watched() == {"stays"}, "the end of the watches of which the readers have gone", WAIT)
        _tell(client, "stays", "SUCCESS")
        assert [(event.name, event.json["state"]) for event in events] == [("state", "SUCCESS"), ("end", "SUCCESS")]
        wait_until(lambda: not watched(), "the end of the other one", WAIT)
        _ends_in_time(project, address, watched)


def _ends_in_time(project: NewProject, address: str, watched: Callable[[], set[str]]) -> None:
    """TERM while clients wait for tasks that never end: uvicorn takes no longer than it was allowed to."""
    clients = [http.client.HTTPConnection(urlsplit(address).netloc, timeout=WAIT) for _ in range(2)]
    for client, path in zip(clients, ("/events/endless/", "/future/endless-too/"), strict=True):
        client.request("GET", path)
    wait_until(lambda: watched() == {"endless", "endless-too"}, "both requests", WAIT)
    assert project.stop(address, WAIT)
    wait_until(lambda: not watched(), "the end of their watches", WAIT)
    for client in clients:
        client.close()


def _tell(client: object, task_id: str, status: str) -> None:
    body = json.dumps({"task_id": task_id, "status": status, "result": None, "traceback": None, "children": []})
    client.publish(f"celery-task-meta-{task_id}", body)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_watch_from_the_command_line(project: NewProject) -> None:
    """A task that was sent elsewhere; and its exit code."""
    sent = project.run(
        "-c",
        "from proj.celery import add\nprint(add.delay(1, 2).id)\nprint(add.delay(1, 'x').id)\n",
    )
    good, bad = sent.stdout.split()
    ended = project.run("manage.py", "bgresults", "watch", good, "--timeout", str(WAIT), "--json")
    assert json.loads(ended.stdout.splitlines()[-1])["result"] == 3
    failed = project.call("manage.py", "bgresults", "watch", good, bad, "--timeout", str(WAIT))
    assert failed.returncode == 1
    assert "TypeError" in failed.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["Django~=4.2.0", "Django~=5.2.0", "Django"])
def test_other_versions_of_django(tmp_path: Path, server: RedisServer, version: str) -> None:
    """The same with the oldest one that is supported, the last LTS, and the current one for this Python."""
    packages = tmp_path / "packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    installed = subprocess.run(
        [*command, "--target", str(packages), version], capture_output=True, text=True, timeout=200, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"{version} cannot be installed: {installed.stderr[-200:]}")
    folder = tmp_path / "project"
    folder.mkdir()
    project = NewProject(folder, server, [packages])
    try:
        project.start_worker()
        shown = project.run("-m", "django", "--version").stdout.strip()
        assert shown.startswith(version.partition("~=")[2].removesuffix(".0"))
        test_as_the_page_says(project)
        assert (packages / "django").is_dir()
        _serves_streams(project, server, notices_departures=not shown.startswith("4."))
    except AssertionError as failed:
        raise AssertionError(f"with Django {shown}: {failed}") from failed
    finally:
        project.close()
