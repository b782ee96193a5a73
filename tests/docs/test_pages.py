"""The pages lead to each other, the reference has all public names, and what is said twice is the same."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bgresults import AMQPOptions, RedisOptions, RetryPolicy, TaskMeta, WatcherHealth, WatcherStats
from tests.docs.snippets import PAGES, ROOT

REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
# What users import from.
PUBLIC = [
    "bgresults",
    "bgresults.consumers",
    "bgresults.consumers.redis",
    "bgresults.consumers.rpc",
    "bgresults.diagnosis",
    "bgresults.integrations.celery",
    "bgresults.integrations.django",
    "bgresults.integrations.flask",
    "bgresults.integrations.gunicorn",
    "bgresults.integrations.opentelemetry",
    "bgresults.integrations.prometheus",
    "bgresults.sse",
    "bgresults.testing",
]
DESCRIBED = re.compile(r"^\.\. auto\w+:: ([\w.]+)", re.M)


def described() -> set[int]:
    """The identities of what the reference describes: a name may be there from its own module, too."""
    names = [name.rpartition(".") for page in REFERENCE for name in DESCRIBED.findall(page.read_text("utf-8"))]
    return {id(getattr(importlib.import_module(module), name)) for module, _, name in names}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has(module: str) -> None:
    package = importlib.import_module(module)
    there = described()
    missing = [name for name in package.__all__ if id(getattr(package, name)) not in there]
    assert not missing, f"no page of docs/reference describes {', '.join(missing)} of {module}"


@pytest.mark.parametrize(
    "kind",
    [AMQPOptions, RedisOptions, RetryPolicy, TaskMeta, WatcherHealth, WatcherStats],
    ids=lambda kind: kind.__name__,
)
def test_all_fields_are_described(kind: Any) -> None:
    """One by one, or together: ``username, password: credentials``."""
    lines = re.findall(r"^ +([a-z_]+(?:, [a-z_]+)*): ", kind.__doc__, re.M)
    names = {name for line in lines for name in line.split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} <= names


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """On a code host; Sphinx looks at the same in the site, and at headings."""
    tokens = [child for token in MarkdownIt().parse(page.read_text("utf-8")) for child in token.children or ()]
    targets = [str(token.attrGet("href") or token.attrGet("src") or "") for token in tokens]
    inside = {target.partition("#")[0] for target in targets if "://" not in target} - {""}
    assert not [target for target in inside if not (page.parent / target).exists()]


def test_every_page_is_in_a_list() -> None:
    """Sphinx says the same, but later."""
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES if "docs" in page.parts} - {"index"}
    listed = {line for block in re.findall(r"```{toctree}\n(.*?)```", index, re.S) for line in block.splitlines()}
    assert pages <= listed


def test_the_rules_for_users_are_those_of_the_security_page() -> None:
    """Which are tried out, word by word, in tests/faults."""
    rules = re.findall(r"(?:ACL SETUSER|rabbitmqctl set_permissions) .+", (ROOT / "docs" / "tls.md").read_text("utf-8"))
    assert len(rules) == 2
    assert all(rule in (ROOT / "SECURITY.md").read_text("utf-8") for rule in rules)


def test_every_target_of_make_that_is_named() -> None:
    """``make docs`` …, wherever a page says so."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in PAGES:
        named = set(re.findall(r"(?:^\$ |`)make ([a-z][a-z-]*)", page.read_text("utf-8"), re.M))
        assert named <= targets, f"{page.name} names {', '.join(sorted(named - targets))}"


def test_the_page_for_contributors_knows_every_room() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    where = " ".join(re.findall(r"^\| (`.*?`) \| ", page, re.M))
    named = set(re.findall(r"`([\w/.]+)`", where))
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "bgresults").iterdir()}
    assert {name for name in named if not name.startswith("tests/")} == rooms - {
        "__init__.py",
        "__pycache__/",
        "py.typed",
    }
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/__init__.py")}
    assert {name for name in named if name.startswith("tests/")} == folders - {"tests/support"}
