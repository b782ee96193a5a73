"""docs/flask.md and the README, done as a new user would: with a real worker, Redis and web server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults.testing import CeleryWorker, RedisServer
from bgresults.testing.web import WebServer
from tests.servers.page import PAGE, block

# Several processes are started, one after the other.
pytestmark = pytest.mark.timeout(120)

ROOT = PAGE.parents[1]
CELERY = """
from celery import Celery

app = Celery("proj", broker={url!r}, backend={url!r})


@app.task
def build_report(user_id):
    return f"report of {{user_id}}"
"""
# What the pages take for granted.
BEFORE = """
from flask import Blueprint, Flask

from proj.celery import build_report

blueprint = Blueprint("reports", __name__)
"""


@pytest.fixture
def project(tmp_path: Path, redis_server: RedisServer) -> Iterator[Path]:
    """A folder with the package ``proj``, and a worker of its application; the shared server says if there is none."""
    package = tmp_path / "proj"
    package.mkdir()
    (package / "__init__.py").touch()
    with RedisServer() as server:
        (package / "celery.py").write_text(CELERY.format(url=server.url()))
        with CeleryWorker("proj", concurrency=1, python_path=[tmp_path, ROOT], cwd=tmp_path):
            yield tmp_path


def answer(folder: Path, app: str) -> object:
    """What the view answers; the server is that of ``flask run``."""
    command = [sys.executable, "-m", "flask", "--app", app, "run", "--port", "{port}"]
    server = WebServer(command, python_path=[folder, ROOT])
    try:
        return server.start().get("/report/7")
    finally:
        server.close()


def test_as_the_pages_say(project: Path) -> None:
    page = PAGE.with_name("flask.md")
    factory = block(
        "Flask", "python", {"    return app": "    app.register_blueprint(blueprint)\n    return app"}, page
    )
    view = page.read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
    (project / "proj" / "web.py").write_text(BEFORE + factory + view)
    assert answer(project, "proj.web") == (200, "report of 7")

    readme = block("Flask, and web servers", "python", page=ROOT / "README.md")
    app = "from bgresults.integrations.flask import BgResults\n\napp = Flask(__name__)\n"
    (project / "proj" / "short.py").write_text(BEFORE + app + readme)
    assert answer(project, "proj.short") == (200, "report of 7")
