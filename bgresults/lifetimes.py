"""The value of ``lifetime`` that stands for the watcher's own."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_LIFETIME", "DefaultLifetime"]


class DefaultLifetime:
    """The type of the one value that stands for "as the watcher was told to"; None means "for ever" already."""

    def __repr__(self) -> str:
        return "<default_lifetime>"


DEFAULT_LIFETIME: Final = DefaultLifetime()
