"""What a worker writes when a task has a state, without Celery: the same values fail, and the same bytes come out."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kombu import serialization
from kombu.exceptions import EncodeError
from kombu.utils.encoding import safe_repr

from bgresults.errors import TaskRevokedError
from bgresults.testing.memory import Stored

__all__ = ["check_exception", "encoded_state", "encoded_value", "traceback_of"]

# kombu does not type them.
_dumps: Any = serialization.dumps
_shown: Any = safe_repr


def encoded_value(value: Any, serializer: str) -> Stored:
    """Bytes of a value.

    Raises:
        kombu.exceptions.EncodeError: the serializer cannot write it.
    """
    content_type, _, payload = _dumps(value, serializer=serializer)
    return Stored(payload.encode() if isinstance(payload, str) else bytes(payload), content_type)


def encoded_state(task_id: str, status: str, result: Any, serializer: str) -> Stored:
    """Bytes of a state. Of a failure, ``result`` is the exception.

    Raises:
        kombu.exceptions.EncodeError: the serializer cannot write it.
    """
    ended = status in ("SUCCESS", "FAILURE", "REVOKED")
    # Elsewhere an exception is a value like any other, which most serializers cannot write.
    failed = status in ("FAILURE", "REVOKED", "RETRY") and isinstance(result, Exception)
    return encoded_value(
        {
            "status": status,
            "result": _described(result, serializer) if failed else result,
            "traceback": traceback_of(result) if failed and status == "FAILURE" else None,
            "children": [],
            "date_done": datetime.now(timezone.utc).isoformat() if ended else None,
            "task_id": task_id,
        },
        serializer,
    )


def traceback_of(error: Exception) -> str:
    """What a worker writes beside an exception: as much of it as there is."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def check_exception(error: Any) -> Exception:
    """The exception that a task is said to raise; of a class, an instance.

    Raises:
        TypeError: it is none that a task can end with.
    """
    if isinstance(error, type) and issubclass(error, Exception):
        error = error()
    if not isinstance(error, Exception):
        raise TypeError(f"a task fails with an Exception, or a class of one, not with {_shown(error)}")
    return error


def _described(error: Exception, serializer: str) -> Exception | Mapping[str, Any]:
    if serializer == "pickle":
        return error
    kind: type = type(error)
    if kind is TaskRevokedError:
        # A worker has Celery's.
        return {"exc_type": kind.__name__, "exc_message": [*error.args], "exc_module": "celery.exceptions"}
    return {
        "exc_type": getattr(kind, "__qualname__", kind.__name__),
        "exc_message": [_writable(argument, serializer) for argument in error.args],
        "exc_module": kind.__module__,
    }


def _writable(argument: Any, serializer: str) -> Any:
    """As it is, if it can be written; else its ``repr``."""
    try:
        encoded_value(argument, serializer)
    except EncodeError:
        return _shown(argument)
    return argument
