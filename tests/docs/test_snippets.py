"""Whatever the README and the documentation show of Python is Python, knows its names, and runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery

from bgresults.testing import ThrowAwayCA
from tests.docs.scene import KNOWN, Scene
from tests.docs.snippets import PAGES, ROOT, Snippet, snippets_of
from tests.support.rpc_workers import WebApps, rpc_worker
from tests.support.tls import TLS_IS_MISSING
from tests.support.workers import WorkerPool

ALL = [snippet for page in PAGES for snippet in snippets_of(page)]
RUNNING = [page for page in PAGES if any(snippet.runs for snippet in snippets_of(page))]
# Workers whose results are replies.
_REPLIES = re.compile(r"amqp://|reply_to|route_replies")
# Texts of the pages, and the fixtures that take their places.
STANDS_FOR = {"amqp://guest:guest@broker:5672//": "rabbitmq_url", "/etc/ssl/our-ca.pem": "ca_file"}


@pytest.fixture(scope="module")
def ca_file() -> Iterator[str]:
    """An authority nobody knows."""
    if TLS_IS_MISSING:
        pytest.skip(TLS_IS_MISSING)
    with ThrowAwayCA() as authority:
        yield str(authority.path)


@pytest.fixture
def new_app(worker_for: WorkerPool, request: pytest.FixtureRequest) -> Iterator[Callable[[Snippet], Celery]]:
    """The Celery application that the reader of a block has, with its worker."""
    apps = WebApps()

    def make(snippet: Snippet) -> Celery:
        if snippet.page.name == "amqp.md" or _REPLIES.search(snippet.text):
            return apps(rpc_worker(worker_for, request.getfixturevalue("rabbitmq_url")).settings)
        return apps(worker_for().settings)

    yield make
    apps.close()


@pytest.mark.parametrize("snippet", [pytest.param(snippet, id=snippet.place) for snippet in ALL])
def test_it_is_python(snippet: Snippet) -> None:
    """Whether it runs or not; and what it imports of this library is there."""
    snippet.foreign_names()
    snippet.import_ours()


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in RUNNING])
def test_it_runs(
    page: Path,
    new_app: Callable[[Snippet], Celery],
    redis_url: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snippets = snippets_of(page)
    # Asked for only where a page shows it: not every machine has it.
    replaced = {
        text: request.getfixturevalue(fixture)
        for text, fixture in STANDS_FOR.items()
        if any(text in snippet.text for snippet in snippets)
    }
    scene = Scene(monkeypatch, redis_url, replaced)
    for snippet in snippets:
        if snippet.runs:
            names = scene.run(snippet, new_app(snippet))
            unknown = snippet.foreign_names() - set(names) - KNOWN
            assert not unknown, f"{snippet.place}: nobody knows {', '.join(sorted(unknown))}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("watcher.watch(", SyntaxError),
        ("from bgresults import ResultWatchr", ImportError),
        ("def view():\n    from bgresults.sse import events", ImportError),
    ],
)
def test_what_is_noticed(text: str, what: type[Exception]) -> None:
    snippet = Snippet(ROOT / "README.md", 1, text, runs=True)
    with pytest.raises(what):
        test_it_is_python(snippet)


def test_what_is_found(tmp_path: Path) -> None:
    """Blocks in lists too, with their lines; what names a file, or says why it does not run, does not."""
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = b\n```\n- one\n\n  ```python\n  c = d\n  ```\n\n```console\n$ e\n```\n"
        "<!-- not run: no f here -->\n\n```python\nf\n```\n```python\n# proj/views.py\ng\n```\n"
        "```python\ndef test_h(): ...\n```\n"
    )
    found = [(each.line, each.text, each.runs, each.foreign_names()) for each in snippets_of(page)]
    assert found == [
        (2, "a = b\n", True, {"b"}),
        (7, "c = d\n", True, {"d"}),
        (16, "f\n", False, {"f"}),
        (19, "# proj/views.py\ng\n", False, {"g"}),
        (23, "def test_h(): ...\n", False, set()),
    ]
