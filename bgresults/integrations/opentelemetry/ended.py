""":class:`EndedWait`: what is put down of a wait on the drain thread, for its span to be made of it later."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.context import Context

from bgresults.integrations.opentelemetry.carriers import carrier_of
from bgresults.session import Session
from bgresults.waits import Ending

__all__ = ["FAILURES", "EndedWait"]

#: Outcomes that are errors.
FAILURES = ("failed", "expired", "refused")


class EndedWait(NamedTuple):
    """What is kept of a wait until its span is made: nothing that is large, and none of the result."""

    session: Session
    context: Context | None
    task_id: str
    began_at: float
    ended_at: float
    outcome: str
    error: BaseException | None
    status: str | None
    name: str | None
    carrier: dict[str, str] | None

    @classmethod
    def of(cls, note: tuple[Session, Context | None], began_at: float, ended_at: float, ending: Ending) -> EndedWait:
        """Of a wait that has just ended."""
        wait, outcome, error, raw = ending
        status = name = carrier = None
        if raw is not None:
            status, name = raw["status"], raw.get("name")
            if raw.get("stamped_headers"):
                carrier = carrier_of(raw)
        return cls(*note, wait.task_id, began_at, ended_at, outcome, error, status, name, carrier)
