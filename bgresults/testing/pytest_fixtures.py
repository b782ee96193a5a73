"""What the pytest plugin does once a test asks for one of its fixtures. The plugin itself is ``pytest_bgresults``."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from bgresults.testing.fake_results import FakeResults
from bgresults.testing.fakeredis_results import FakeRedisResults
from bgresults.watcher import ResultWatcher

__all__ = ["STRICT", "entered_fake", "entered_fakeredis", "new_watcher"]

MARKER = "bgresults"
STRICT = "bgresults_strict"

_FAKE = pytest.StashKey[FakeResults]()
_FAILED = pytest.StashKey[bool]()
_REPORTER = "bgresults-reporter"


class _Reporter:
    """Adds what became of the tasks to the report of a test that failed."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        fake = item.stash.get(_FAKE, None)
        if fake is not None and report.failed:
            item.stash[_FAILED] = True
            if report.when == "call":
                report.sections.append(("bgresults: tasks", fake.summary() or "no task was sent, watched or resolved"))


@contextlib.contextmanager
def entered_fake(request: pytest.FixtureRequest) -> Iterator[FakeResults]:
    """What ``fake_results`` is."""
    settings = _marked(request)
    plugins, item = request.config.pluginmanager, request.node
    if not plugins.has_plugin(_REPORTER):
        plugins.register(_Reporter(), _REPORTER)
    strict = settings.get("strict", request.config.getini(STRICT))
    if not isinstance(strict, bool):
        raise pytest.UsageError(f"@pytest.mark.{MARKER}(strict=…) must be a bool, not {type(strict).__name__}")
    with FakeResults(serializer=settings.get("serializer")) as fake:
        item.stash[_FAKE] = fake
        try:
            yield fake
        finally:
            del item.stash[_FAKE]
        left = fake.loose_ends() if strict and not item.stash.get(_FAILED, False) else []
    if left:
        pytest.fail("the test has left loose ends:\n" + "\n".join(left), pytrace=False)


@contextlib.contextmanager
def entered_fakeredis(request: pytest.FixtureRequest) -> Iterator[FakeRedisResults]:
    """What ``bgresults_fakeredis`` is."""
    if "fake_results" in request.fixturenames:
        # Nobody would find what is stored there.
        raise pytest.UsageError(
            "fake_results (and bgresults_watcher, which uses it) keeps watchers from connecting, to a fakeredis too: "
            "use bgresults_fakeredis without it"
        )
    try:
        results = FakeRedisResults()
    except RuntimeError:
        pytest.fail("bgresults_fakeredis needs fakeredis: pip install 'bgresults[testing]'", pytrace=False)
    with results:
        yield results


def new_watcher(request: pytest.FixtureRequest, results: FakeResults) -> ResultWatcher:
    """A watcher with the settings of the marker."""
    return results.watcher(**{name: value for name, value in _marked(request).items() if name != "strict"})


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the markers of a test say; the nearest one counts."""
    settings: dict[str, Any] = {}
    for marker in request.node.iter_markers(MARKER):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.{MARKER} takes settings by name, such as on_disconnect='fail'")
        settings = {**marker.kwargs, **settings}
    return settings
