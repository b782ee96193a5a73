"""What the examples of the documentation take for granted: an application, a task, the id of one that was sent."""

from __future__ import annotations

import ast
import asyncio
import concurrent.futures
import inspect
import json
import os
import re
import sys
import types
import uuid
from collections.abc import Mapping
from typing import Any

import flask
import pytest
from celery import Celery, group

import bgresults
from bgresults import ResultWatcher
from bgresults.integrations.flask import BgResults
from tests.docs.snippets import Snippet

__all__ = ["KNOWN", "Scene"]

#: Readers know what these are. They are in functions, which tests of their own call, if at all.
KNOWN = {
    "NoFiguresError",
    "Order",
    "PATIENCE",
    "Report",
    "StreamingResponse",
    "again",
    "charge",
    "event_stream",
    "page",
    "render_template",
    "transaction",
}
# Only a Flask application has these.
_FLASK = re.compile(r"@app\.(get|post)\(|app\.config\[|init_app\(app\)")
_REDIS = re.compile(r"redis://localhost(:6379)?(/0)?")

VALUE = "the value"


class InsufficientFunds(Exception):
    """What a task may raise."""


class Scene:
    """Runs blocks of one page, in order: what one defines, those below it know.

    Args:
        monkeypatch: of the test.
        redis_url: what takes the place of the Redis of the pages.
        replaced: what takes the place of other texts of the pages.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, redis_url: str, replaced: Mapping[str, str]) -> None:
        self._monkeypatch = monkeypatch
        self._redis_url = redis_url
        self._replaced = replaced
        self._defined: dict[str, Any] = {}
        monkeypatch.setenv("RESULTS_PASSWORD", "secret")

    def run(self, snippet: Snippet, celery_app: Celery) -> dict[str, Any]:
        """Execute a block, and return the names that there are then; whatever it raises comes out.

        Args:
            snippet: the block.
            celery_app: whose worker has the task ``echo``.
        """
        names = self._given(snippet, celery_app)
        given = dict(names)
        text = _REDIS.sub(self._redis_url, snippet.text)
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        # The lines of a traceback are those of the page.
        text = "\n" * (snippet.line - 1) + text
        code = compile(text, str(snippet.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            awaitable = eval(code, names)  # the page is ours
            if inspect.iscoroutine(awaitable):
                asyncio.run(awaitable)
            if "view" in names.keys() - given.keys():
                assert names["view"](names["request"]) == VALUE
        finally:
            for value in [*names.values(), given["watcher"]]:
                if isinstance(value, ResultWatcher):
                    value.close()
                elif isinstance(value, concurrent.futures.Executor):
                    value.shutdown()
        self._defined = {name: value for name, value in names.items() if name not in given}
        return names

    def _given(self, snippet: Snippet, celery_app: Celery) -> dict[str, Any]:
        """What every block finds, whatever those above it have made of these names."""
        # Celery gives tasks of one application to all others that there are, or will be.
        build_report = celery_app.tasks["echo"]
        project: Any = types.ModuleType("proj.celery")
        project.app, project.add = celery_app, build_report
        self._monkeypatch.setitem(sys.modules, "proj.celery", project)
        # Where results come as replies, the blocks name the queue when they send.
        sends = celery_app.conf.result_backend != "rpc://"
        ids = [build_report.delay(VALUE).id if sends else str(uuid.uuid4()) for _ in range(3)]
        watcher = ResultWatcher.from_celery(celery_app)
        pages = flask.Flask("pages")
        pages.config["BGRESULTS_CELERY_APP"] = celery_app
        return {
            **self._defined,
            "AMQPOptions": bgresults.AMQPOptions,
            "BgResults": BgResults,
            "Flask": flask.Flask,
            "InsufficientFunds": InsufficientFunds,
            "ResultWatcher": ResultWatcher,
            "app": flask.Flask("page") if _FLASK.search(snippet.text) else celery_app,
            "asyncio": asyncio,
            "bgresults": bgresults,
            "blueprint": flask.Blueprint("reports", __name__),
            "build_report": build_report,
            "celery_app": celery_app,
            "concurrent": concurrent,
            "future": watcher.watch(ids[0]),
            "group": group,
            "ids": ids,
            "jobs": [build_report.s(value) for value in ids],
            "json": json,
            "jsonify": flask.jsonify,
            "os": os,
            "read_secret": str,
            "render": lambda _request, _template, value: value,
            "request": types.SimpleNamespace(user=types.SimpleNamespace(id=VALUE)),
            "results": BgResults(pages),
            "store": str,
            "task_id": ids[0],
            "tell_somebody": str,
            "url_for": flask.url_for,
            "user_id": VALUE,
            "uuid": uuid,
            "watcher": watcher,
        }
