"""What a Celery worker sends to Redis when a task has ended, byte for byte."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

__all__ = ["ANSWER_SIZE", "new_ids", "payload", "transaction"]

_TTL = b"86400"
# Bytes from which on a result has a structure.
_LARGE = 1 << 16
# +OK, +QUEUED twice, *2 with +OK and the number of receivers, which has one digit here.
ANSWER_SIZE = len(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n")


def new_ids(count: int) -> list[str]:
    """Random ids, as Celery makes them."""
    return [str(uuid.uuid4()) for _ in range(count)]


def payload(task_id: str, size: int) -> bytes:
    """The stored state of a task that succeeded, ``size`` bytes in all if the envelope leaves room.

    The result is a string; or a list of rows, and up to one row smaller, if it is large: json copies a string of a
    megabyte as it is, and hardly any task returns one.
    """
    return _template(len(task_id), size).replace(b"?" * len(task_id), task_id.encode(), 1)


@lru_cache
def _template(length: int, size: int) -> bytes:
    """A body for any id of so many characters: to encode each anew takes longer than most of what is measured."""
    state: dict[str, Any] = {
        "status": "SUCCESS",
        "result": "",
        "traceback": None,
        "children": [],
        "date_done": datetime.now(timezone.utc).isoformat(),
        "task_id": "?" * length,
    }
    room = size - len(json.dumps(state))
    if size < _LARGE:
        state["result"] = "r" * max(room, 0)
    else:
        row = {"id": 1234567, "name": "a name", "price": 12.75, "tags": ["one", "two"], "sold": True, "note": None}
        state["result"] = [row] * (room // len(json.dumps([row])))
    return json.dumps(state).encode()


def transaction(task_id: str, size: int) -> bytes:
    """The worker's MULTI, SETEX, PUBLISH and EXEC."""
    key = b"celery-task-meta-" + task_id.encode()
    body = payload(task_id, size)
    return b"".join(
        (
            _command((b"MULTI",)),
            _command((b"SETEX", key, _TTL, body)),
            _command((b"PUBLISH", key, body)),
            _command((b"EXEC",)),
        )
    )


def _command(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
