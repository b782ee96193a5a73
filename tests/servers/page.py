"""What ``docs/deployment.md`` says: the tests run servers with the settings that its readers copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["PAGE", "block"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"


def block(heading: str, language: str, replaced: Mapping[str, str] | None = None, page: Path = PAGE) -> str:
    """The first code block of that language below a heading.

    Args:
        heading: without its signs.
        language: of the block.
        replaced: old text → new text, for what has to be different here.
        page: where.

    Raises:
        AssertionError: there is no such block, or nothing to replace.
    """
    found = re.search(
        rf"^#+ {re.escape(heading)}$(?:(?!^## ).)*?^```{language}\n(.*?)^```",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, f"{page.name} has no block of {language} below {heading!r}"
    text = found[1]
    for old, new in (replaced or {}).items():
        assert old in text, f"{old!r} is not in the block below {heading!r}"
        text = text.replace(old, new)
    return text
