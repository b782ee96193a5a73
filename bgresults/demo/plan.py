"""What the threads send, and what has to come of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["KINDS", "Job", "make_plan", "problem_with"]

VALUE: Final = "returned a value"
FAILURE: Final = "failed (ValueError)"
PROGRESS: Final = "reported progress"
REVOKED: Final = "revoked in time"
KINDS: Final = (VALUE, FAILURE, PROGRESS, REVOKED)

# Of twenty tasks in a row: mostly plain ones.
_PATTERN: Final = (
    (VALUE,) * 3
    + (FAILURE,)
    + (VALUE,) * 4
    + (PROGRESS,)
    + (VALUE,) * 3
    + (FAILURE, VALUE, REVOKED)
    + (VALUE,) * 3
    + (FAILURE, VALUE)
)
_STEPS: Final = 4


@dataclass(frozen=True)
class Job:
    """One task to send.

    Attributes:
        kind: one of KINDS.
        task: the name that the worker knows.
        args: of the task.
        task_id: chosen here, so that it can be watched, or revoked, before it is sent.
    """

    kind: str
    task: str
    args: tuple[Any, ...]
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))


_MAKERS: Final[dict[str, Callable[[int], Job]]] = {
    VALUE: lambda number: Job(VALUE, "demo.add", (number, 1)),
    FAILURE: lambda number: Job(FAILURE, "demo.price", (f"{number} pounds",)),
    PROGRESS: lambda _number: Job(PROGRESS, "demo.rows", (_STEPS,)),
    REVOKED: lambda _number: Job(REVOKED, "demo.never", ()),
}


def make_plan(threads: int, tasks: int) -> list[list[Job]]:
    """The jobs of each thread, ``tasks`` in all."""
    jobs = [_MAKERS[_PATTERN[number % len(_PATTERN)]](number) for number in range(tasks)]
    return [jobs[thread::threads] for thread in range(threads)]


def revoked_ids(plan: Sequence[Sequence[Job]]) -> list[str]:
    """The tasks that must not run."""
    return [job.task_id for jobs in plan for job in jobs if job.kind == REVOKED]


def problem_with(job: Job, value: Any, error: BaseException | None) -> str | None:
    """What is wrong with the outcome of a job, in words; None if it is as it should be."""
    found = f"{type(error).__name__}: {error}" if error is not None else repr(value)
    if job.kind == FAILURE:
        right = isinstance(error, ValueError) and job.args[0] in str(error)
    elif job.kind == REVOKED:
        right = type(error).__name__ == "TaskRevokedError"
    else:
        right = error is None and value == (sum(job.args) if job.kind == VALUE else job.args[0])
    return None if right else f"{job.task}{job.args} should have {job.kind}; got {found}"
