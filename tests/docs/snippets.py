"""The blocks of Python that the README and the documentation show."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import symtable
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["PAGES", "ROOT", "Snippet", "snippets_of"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_NOT_RUN = re.compile(r"<!-- not run: .+ -->")
# "# gunicorn.conf.py", or "INSTALLED_APPS += […]  # settings.py"
_NAMES_A_FILE = re.compile(r".*# [\w./]*\w\.py\b")
_IS_FOR_PYTEST = re.compile(r"^ *def test_", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One block.

    Attributes:
        page: where it is.
        line: the number of its first line there.
        text: what is in it.
        runs: whether a reader could run it as it stands. Otherwise it is a file of a project, which its first line
            names, or it has tests for pytest, or it is preceded by a comment that says why not.
    """

    page: Path
    line: int
    text: str
    runs: bool

    @property
    def place(self) -> str:
        """Such as ``docs/sse.md:70``."""
        shown = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{shown}:{self.line}"

    def in_function(self) -> str:
        """The same as the body of a coroutine: blocks may be of the inside of one."""
        return f"async def _block():\n{textwrap.indent(self.text, '    ')}"

    def foreign_names(self) -> set[str]:
        """What it refers to and does not define; raises SyntaxError if it is no Python."""
        return set(_globals(symtable.symtable(self.in_function(), self.place, "exec"))) - set(dir(builtins))

    def import_ours(self) -> None:
        """Import what it imports of this library; raises ImportError if something is not there."""
        for node in ast.walk(ast.parse(self.in_function())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bgresults":
                module = importlib.import_module(node.module or "")
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                if missing:
                    raise ImportError(f"{node.module} has no {', '.join(missing)}")


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    if table.get_type() != "module":
        yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
    for inner in table.get_children():
        yield from _globals(inner)


def snippets_of(page: Path) -> list[Snippet]:
    """All blocks of Python of a page, in order."""
    found = []
    before = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.info.split()[:1] == ["python"]:
            assert token.map is not None
            marked = _NOT_RUN.fullmatch(before.strip()) or _NAMES_A_FILE.match(token.content.split("\n")[0])
            runs = not marked and not _IS_FOR_PYTEST.search(token.content)
            found.append(Snippet(page, token.map[0] + 2, token.content, runs=runs))
        before = token.content if token.type == "html_block" else ""
    return found
