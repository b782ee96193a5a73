"""docs/tutorial.md, done as a new user would: its files, a real Redis, worker and web server, and what curl shows."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from bgresults.testing import CeleryWorker, RedisServer
from bgresults.testing.web import WebServer
from tests.docs.snippets import ROOT, snippets_of
from tests.sse.reading import parsed

# Several processes are started, one after the other.
pytestmark = pytest.mark.timeout(120)

PAGE = ROOT / "docs" / "tutorial.md"
# The page has time.
FASTER = {"time.sleep(0.1)": "time.sleep(0.02)", "timeout=2": "timeout=0.5"}
SOME_ID = "7d0c…"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def files(redis_url: str) -> dict[str, str]:
    """Name → text of the files that the page has its readers write, piece by piece."""
    made: dict[str, str] = {}
    for snippet in snippets_of(PAGE):
        named = re.match(r"# (\w+\.py)", snippet.text)
        assert named is not None, f"{snippet.place} does not say which file it is"
        made[named[1]] = made.get(named[1], "") + snippet.text
    for old, new in {**FASTER, "redis://localhost:6379/0": redis_url}.items():
        made = {name: content.replace(old, new) for name, content in made.items()}
    return made


def requests() -> list[tuple[str, str, str]]:
    """Method, path and answer of what the page shows of curl."""
    shown = re.findall(r"^\$ curl (?:-X (\w+) )?http://localhost:8000(\S+)\n(.+)$", PAGE.read_text("utf-8"), re.M)
    return [(method or "GET", path, answer) for method, path, answer in shown]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[WebServer]:
    """``flask run``, and a worker; the shared server says if there is none."""
    folder = tmp_path_factory.mktemp("reports")
    command = [sys.executable, "-m", "flask", "--app", "web", "run", "--port", "{port}"]
    with RedisServer() as own:
        for name, content in files(own.url()).items():
            (folder / name).write_text(content)
        with (
            CeleryWorker("tasks", concurrency=1, pool="solo", python_path=[folder, ROOT], cwd=folder),
            WebServer(command, python_path=[folder, ROOT]) as running,
        ):
            yield running


def answer_of(server: WebServer, method: str, path: str) -> str:
    """What curl would print."""
    request = urllib.request.Request(server.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    return body.decode().strip()


def settled_answer_of(server: WebServer, method: str, path: str) -> str:
    """The same, once the report is not pending any more, which takes longer on a slow machine."""
    deadline = time.monotonic() + 30
    while "pending" in (answer := answer_of(server, method, path)):
        assert time.monotonic() < deadline, answer
    return answer


def test_as_the_page_says(server: WebServer) -> None:
    shown = requests()
    assert len(shown) == 5
    task_id = ""
    for method, path, expected in shown:
        ask = answer_of if "pending" in expected else settled_answer_of
        answer = ask(server, method, path.replace(SOME_ID, task_id))
        found = re.fullmatch(re.escape(expected).replace(re.escape(SOME_ID), f"({UUID})"), answer)
        assert found is not None, f"{method} {path}: {answer}"
        task_id = found[1] if found.groups() else task_id


def test_the_bar(server: WebServer) -> None:
    status, page = server.get("/watch/5")
    events = re.search(rf"/events/{UUID}", page)
    assert status == 200
    assert events is not None
    *_, end = parsed([answer_of(server, "GET", events[0]).encode() + b"\n\n"])
    assert end.name == "end"
    assert end.json["result"] == "a report of 5 pages"
