"""What two ways of waiting gave, and whether it is the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from celery.result import AsyncResult

from bgresults.task_exceptions import RemoteTraceback
from tests.celery.rows import Difference

__all__ = ["Line", "Outcome", "drawn", "outcome_of", "problems"]

_LONGEST = 44


@dataclass(frozen=True)
class Outcome:
    """A value, or what was raised."""

    value: Any = None
    error: Exception | None = None

    def __str__(self) -> str:
        return _short(self.value) if self.error is None else _short(self.error)


def outcome_of(wait: Callable[[], Any]) -> Outcome:
    """What a call returned or raised."""
    try:
        return Outcome(value=wait())
    except Exception as error:
        # It refers to the frames of the call, and they to results that unsubscribe when they go.
        return Outcome(error=error.with_traceback(None))


def problems(
    ours: Outcome, theirs: Outcome, difference: Difference | None, tracebacks: Collection[str | None]
) -> list[str]:
    """Where ours is not what Celery gave, nor differs from it as it should; nothing if all is well.

    Args:
        ours, theirs: the outcomes.
        difference: how ours is to differ.
        tracebacks: what workers stored with each failure; None where that is nothing.
    """
    if ours.error is None or theirs.error is None:
        if ours.error is not None or theirs.error is not None:
            return ["one raised, the other did not"]
        return [] if _equal(ours.value, theirs.value) else ["another value"]
    found = []
    caught = isinstance(ours.error, type(theirs.error))
    if difference is None:
        if not caught:
            found.append(f"not caught by `except {_name(type(theirs.error))}`")
        if not _equal(ours.error.args, theirs.error.args):
            found.append("other arguments")
    else:
        if caught and _equal(ours.error.args, theirs.error.args):
            found.append("no difference any more")
        if not isinstance(ours.error, difference.kind):
            found.append(f"no {_name(difference.kind)}")
        if difference.args is not None and not _equal(ours.error.args, difference.args):
            found.append(f"its arguments are not {difference.args}")
    cause = ours.error.__cause__
    if (cause.tb if isinstance(cause, RemoteTraceback) else cause) not in tracebacks:
        found.append("its __cause__ is not the worker's traceback")
    return found


@dataclass(frozen=True)
class Line:
    """Of the table. Text alone: a value may be a Celery result, which unsubscribes when it goes."""

    row: str
    serializer: str
    theirs: str
    ours: str
    verdict: str


def drawn(lines: Iterable[Line]) -> str:
    """The table as text."""
    cells = [("row", "serializer", "get() gave", "ours gave", "same?")]
    cells += [(line.row, line.serializer, line.theirs, line.ours, line.verdict) for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, types and order included; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, BaseException):
        return _equal(one.args, other.args)
    if isinstance(one, AsyncResult):
        return bool(one.id == other.id)
    # Two bare objects out of a pickle have nothing to compare.
    return type(one) is object or bool(one == other)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
