""":class:`Finding` and :class:`Diagnosis`: what is told of a watcher's surroundings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Diagnosis", "Finding", "Level"]

#: ``"ok"``: it is fine. ``"note"``: worth knowing. ``"warning"``: it works, with a risk. ``"error"``: it does not work.
Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Nothing in it shows a password.

    Attributes:
        level: how bad it is.
        code: what was looked at, in a word that does not change between versions.
        text: what was found.
        cure: what to do about it; None where nothing has to be done.
    """

    level: Level
    code: str
    text: str
    cure: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All findings about one watcher.

    Attributes:
        name: of the watcher.
        address: where the results are, without a password.
        findings: in the order in which they were made.
    """

    name: str
    address: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether results can arrive. Warnings are no obstacle."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """For a command: 0 if :attr:`ok`, else 1."""
        return 0 if self.ok else 1

    def as_dict(self) -> dict[str, Any]:
        """The same as a dict that ``json.dumps()`` takes."""
        return {"ok": self.ok, **dataclasses.asdict(self)}
