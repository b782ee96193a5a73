"""The commands and extras that the README and the documentation name are there."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest

from bgresults.cli.group import bgresults
from tests.docs.snippets import PAGES, ROOT

# The arguments, up to a comment, another command, or a pipe; the output of a command stands for an id.
_SHOWN = re.compile(r"^\$ .*?\bbgresults ((?:doctor|watch|status|demo|bench)\b.*)$", re.M)
_REST = re.compile(r"\s*(?:\s#|;|\|).*")
_OUTPUT = re.compile(r"\$\(.*?\)")


def shown(page: Path) -> list[str]:
    lines = [line for line in _SHOWN.findall(page.read_text("utf-8")) if "manage.py" not in line]
    return [_REST.sub("", _OUTPUT.sub("some-id", line)) for line in lines]


COMMANDS = [pytest.param(line, id=f"{page.name} {line[:30]}") for page in PAGES for line in shown(page)]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_takes_what_is_shown(line: str) -> None:
    """Its options and arguments; it is not run."""
    name, *arguments = shlex.split(line)
    bgresults.commands[name].make_context(name, arguments).close()


def test_the_readme_shows_them() -> None:
    assert {line.split()[0] for line in shown(ROOT / "README.md")} == {"demo", "doctor", "status", "watch"}


def test_the_readme_has_all_extras() -> None:
    """Those for users; and what the pages, and the errors of the library, say to install can be installed."""
    extras = set(importlib.metadata.metadata("bgresults").get_all("Provides-Extra", []))
    readme = (ROOT / "README.md").read_text("utf-8")
    install = readme[readme.index("## Install") : readme.index("## What you get")]
    words = set(re.findall(r"\w+", install))
    assert extras - {"dev", "docs"} <= words
    for file in [*PAGES, *(ROOT / "bgresults").rglob("*.py")]:
        named = re.findall(r"pip install 'bgresults\[([a-z,]+)\]", file.read_text("utf-8"))
        assert set(",".join(named).split(",")) - {""} <= extras, file
