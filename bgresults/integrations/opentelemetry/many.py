""":class:`Many`: the waits of one call that watches many tasks, which have one span for all of them.

A span costs as much as two results. So ten thousand of them would cost more than the waiting, and no view of a trace
shows them. The semantic conventions for messaging have a word for one that stands for many: a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from opentelemetry.context import Context

from bgresults.forking import leaf_lock
from bgresults.integrations.opentelemetry.ended import FAILURES, EndedWait
from bgresults.session import Session
from bgresults.task_exceptions import exception_from
from bgresults.waits import Ending

__all__ = ["ONE_EACH", "Many"]

#: So many tasks of one call have a span each.
ONE_EACH = 100
# Links that the SDK keeps of a span, unless it is told otherwise; and errors that are shown.
_LINKED = 128
_ERRORS = 10


class Many:
    """What is kept of them until the last one has ended.

    Args:
        session: that waits for them.
        context: of the caller.
        count: how many they are.

    Attributes:
        began_at, ended_at: on the clock of ``time.monotonic``.
        outcomes: how many have ended how.
        first: the first of them: to their tasks the span is linked.
        failed: the first of those that failed.
    """

    def __init__(self, session: Session, context: Context | None, count: int) -> None:
        self.session = session
        self.context = context
        self.count = count
        self.began_at = self.ended_at = 0.0
        self.outcomes: Counter[str] = Counter()
        self.first: list[EndedWait] = []
        self.failed: list[EndedWait] = []
        self._left = count

    def ended(self, began_at: float, ended_at: float, endings: Sequence[Ending]) -> bool:
        """Some of them have ended; returns whether those were the last. Any thread."""
        note = (self.session, self.context)
        room = max(0, _LINKED - len(self.first))
        first = [EndedWait.of(note, began_at, ended_at, ending) for ending in endings[:room]]
        room = max(0, _ERRORS - len(self.failed))
        failed = [ending for ending in endings if ending[1] in FAILURES][:room]
        errors = [EndedWait.of(note, began_at, ended_at, _unraised(ending)) for ending in failed]
        outcomes = Counter([outcome for _, outcome, _, _ in endings])
        with leaf_lock():
            self.began_at, self.ended_at = began_at, ended_at
            self.outcomes.update(outcomes)
            # No error: once raised, it holds the frames of who waited, and with them the other futures.
            self.first += [wait._replace(error=None) for wait in first[: _LINKED - len(self.first)]]
            self.failed += errors[: _ERRORS - len(self.failed)]
            self._left -= len(endings)
            return self._left == 0

    def give_up(self) -> bool:
        """Wait for no more of them; returns whether there is something to tell of."""
        with leaf_lock():
            unfinished, self._left = self._left, -1
            return unfinished > 0 and bool(self.outcomes)


def _unraised(ending: Ending) -> Ending:
    """With an error of its own, that nobody will ever raise."""
    wait, outcome, error, raw = ending
    if error is not None:
        error = type(error)(*error.args) if raw is None else exception_from(raw)
    return wait, outcome, error, raw
