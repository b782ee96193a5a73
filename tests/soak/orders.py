"""What a worker is to do with a task: the true outcome of an id, known before anybody watches it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bgresults import ResultDecodeError, TaskRevokedError
from tests.support.results import state_body

__all__ = ["LONGEST_LINE", "Backend", "Order"]

Backend = Literal["redis", "rpc"]
Kind = Literal["value", "states", "failure", "revoked", "garbage", "worker"]

#: What is written to a pipe in one piece, whoever else writes; POSIX promises 512 bytes.
LONGEST_LINE = 512
_GARBAGE = b"\xff{not JSON"


@dataclass(frozen=True)
class Order:
    """One task.

    Attributes:
        backend: where its result goes.
        task_id: its id.
        kind: how it ends: with a value, with a value after other states, with a ValueError, revoked, with a body that
            nobody can read; or as a real Celery worker has it end, with a value.
        queue: the reply queue, on rpc.
        delay: seconds that it takes.
        size: bytes of the value, besides the few that each has.
        persistent: whether a restart of the broker leaves the reply in its queue.
    """

    backend: Backend
    task_id: str
    kind: Kind = "value"
    queue: str | None = None
    delay: float = 0.0
    size: int = 0
    persistent: bool = True

    def line(self) -> bytes:
        """For a pipe that many threads and processes write to."""
        line = json.dumps(asdict(self)).encode() + b"\n"
        assert len(line) <= LONGEST_LINE
        return line

    @classmethod
    def of_line(cls, line: bytes) -> Order:
        """What :meth:`line` was made of."""
        return cls(**json.loads(line))

    def value(self, now: float) -> dict[str, Any]:
        """What the task returns when it returns now, on the clock of ``time.monotonic``."""
        return {"id": self.task_id, "at": now, "pad": "x" * self.size}

    def states(self, now: float) -> Iterator[bytes]:
        """The bodies that a worker writes, the final one last."""
        if self.kind == "garbage":
            # With its id, by which whoever listens knows one that was given up.
            yield _GARBAGE + f'"task_id": "{self.task_id}"'.encode()
        elif self.kind == "failure":
            described = {"exc_type": "ValueError", "exc_message": [self.task_id], "exc_module": "builtins"}
            yield state_body(self.task_id, "FAILURE", described, traceback="Traceback ...")
        elif self.kind == "revoked":
            described = {
                "exc_type": "TaskRevokedError",
                "exc_message": ["revoked"],
                "exc_module": "celery.exceptions",
            }
            yield state_body(self.task_id, "REVOKED", described)
        else:
            if self.kind == "states":
                yield state_body(self.task_id, "STARTED", {"pid": 1, "hostname": "soak"})
                yield state_body(self.task_id, "PROGRESS", {"done": 0.5})
            yield state_body(self.task_id, result=self.value(now))

    def is_right(self, outcome: object) -> bool:
        """Whether this is what waiting for it may end with."""
        if self.kind == "failure":
            return type(outcome) is ValueError and outcome.args == (self.task_id,)
        if self.kind == "revoked":
            return isinstance(outcome, TaskRevokedError)
        if self.kind == "garbage":
            return isinstance(outcome, ResultDecodeError)
        return (
            isinstance(outcome, dict)
            and outcome.keys() == {"id", "at", "pad"}
            and outcome["id"] == self.task_id
            and outcome["pad"] == "x" * self.size
        )
