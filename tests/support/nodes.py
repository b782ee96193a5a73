"""Whether a test exists, without importing it."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["is_a_test"]


def is_a_test(root: Path, node: str) -> bool:
    """Whether ``path::test_name`` or ``path::TestClass::test_name`` is there, under ``root``; without parameters."""
    path, *names = node.split("::")
    if not names or not names[-1].startswith("test_") or not (root / path).is_file():
        return False
    found: ast.AST = ast.parse((root / path).read_text(encoding="utf-8"))
    for name in names:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef) if name == names[-1] else (ast.ClassDef,)
        inside = [item for item in ast.iter_child_nodes(found) if isinstance(item, kinds) and item.name == name]
        if not inside:
            return False
        found = inside[0]
    return True
