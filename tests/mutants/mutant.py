"""What a mutant is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """One edit.

    Attributes:
        name: what is wrong with it.
        why: what goes wrong then.
        file: path from the root of the project.
        original: text that is in the file exactly once.
        replacement: what takes its place.
        killer: node id of the test that has to fail.
    """

    name: str
    why: str
    file: str
    original: str
    replacement: str
    killer: str
