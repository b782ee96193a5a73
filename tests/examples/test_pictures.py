"""The pictures of the documentation are there, are small, and are shown somewhere."""

from __future__ import annotations

import re

from tests.examples.running import ROOT
from tests.examples.screenshots import IMAGES

_SHOWN = re.compile(r"images/([\w-]+\.(?:png|svg))")
_MOST_BYTES = 120_000


def test_the_pictures() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in _SHOWN.findall(page.read_text(encoding="utf-8"))}
    there = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert set(there) == shown
    assert {name: size for name, size in there.items() if size > _MOST_BYTES} == {}
