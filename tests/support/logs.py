"""What the library has told its users in the log."""

from __future__ import annotations

import logging

import pytest

from tests.support.waiting import wait_until

__all__ = ["Told"]


class Told:
    """The lines of the ``bgresults`` loggers, from INFO on."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, logger="bgresults")

    @property
    def levels(self) -> list[str]:
        """The level of each line."""
        return [record.levelname for record in self._caplog.records if record.name.startswith("bgresults")]

    @property
    def text(self) -> str:
        """All lines, other loggers' too: where a password must not be found."""
        return self._caplog.text

    def clear(self) -> None:
        """Forget what was told."""
        self._caplog.clear()

    def just(self, *levels: str) -> None:
        """Wait for lines of these levels, and see no other. A result may be there a moment before its line."""
        wait_until(lambda: len(self.levels) >= len(levels), f"{levels} in the log")
        assert self.levels == list(levels), self.text
