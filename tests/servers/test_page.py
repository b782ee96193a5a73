"""``docs/deployment.md``: when not to wait, and its links."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from flask import Flask, jsonify, request, url_for

from bgresults.integrations.flask import BgResults
from bgresults.testing import RedisServer
from tests.servers.page import PAGE, block
from tests.support import wait_until
from tests.support.results import ResultWriter

PAGES = [PAGE, PAGE.with_name("flask.md"), PAGE.with_name("sse.md")]


def test_the_readme_leads_here() -> None:
    readme = PAGE.parents[1].joinpath("README.md").read_text(encoding="utf-8")
    assert all(f"(docs/{page.name})" in readme for page in PAGES)


def test_links_within_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\(#([^)]*)\)", text))
    assert links
    assert links <= anchors


@pytest.fixture
def page_app(redis_server: RedisServer) -> Any:
    """The application of "When not to wait in a request", and what plays its worker."""
    app = Flask("page")
    app.config["BGRESULTS_URL"] = redis_server.url()
    results = BgResults(app)
    sent: list[str] = []

    class Sending:
        """``submit()`` without a worker: the test writes the result."""

        @staticmethod
        def submit(task: Any, args: Any) -> Any:
            sent.append(str(uuid.uuid4()))
            return results.watch(sent[-1])

        watch = staticmethod(results.watch)

    source = block("When not to wait in a request", "python", {"timeout=2": "timeout=0.2"})
    names: dict[str, Any] = {
        "app": app,
        "jsonify": jsonify,
        "request": request,
        "url_for": url_for,
        "build_report": None,
    }
    exec(compile(source, str(PAGE), "exec"), {**names, "results": Sending})  # the page is ours
    writer = ResultWriter(redis_server)
    yield app.test_client(), sent, writer
    writer.close()
    results.close()


def test_when_not_to_wait(page_app: Any) -> None:
    """202 and where to ask; 202 again; then the result, whoever is asked."""
    client, sent, writer = page_app
    created = client.post("/reports", json={"user": 5})
    assert created.status_code == 202
    assert created.headers["Location"].endswith(f"/reports/{sent[0]}")
    again = client.get(created.headers["Location"])
    assert (again.status_code, again.headers["Retry-After"]) == (202, "1")
    writer.write(sent[0], "the report")
    answers: list[Any] = []

    def done() -> bool:
        # It waits for a moment only, which may be too short on a machine that is busy.
        answers.append(client.get(created.headers["Location"]))
        return bool(answers[-1].status_code != 202)

    wait_until(done, "the report")
    assert (answers[-1].status_code, answers[-1].json) == (200, {"report": "the report"})
