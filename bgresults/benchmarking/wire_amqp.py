"""What a Celery worker sends to a message broker when a task has ended, byte for byte."""

from __future__ import annotations

from struct import pack

from bgresults.benchmarking.wire import payload

__all__ = ["reply"]

_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC, _PUBLISH = 60, 40
_FRAME_END = b"\xce"
# content type, content encoding, headers, delivery mode, priority, correlation id
_PROPERTIES = 0b1111_1100_0000_0000
_TRANSIENT = 1


def reply(task_id: str, size: int, queue: str, *, channel: int = 1) -> bytes:
    """The three frames of ``basic.publish`` to a queue, through the default exchange; a body of ``size`` bytes."""
    body = payload(task_id, size)
    method = pack(">HHH", _BASIC, _PUBLISH, 0) + _short("") + _short(queue) + b"\0"
    properties = (
        _short("application/json") + _short("utf-8") + pack(">I", 0) + pack(">BB", _TRANSIENT, 0) + _short(task_id)
    )
    header = pack(">HHQH", _BASIC, 0, len(body), _PROPERTIES) + properties
    return b"".join((_frame(_METHOD, channel, method), _frame(_HEADER, channel, header), _frame(_BODY, channel, body)))


def _frame(kind: int, channel: int, content: bytes) -> bytes:
    return pack(">BHI", kind, channel, len(content)) + content + _FRAME_END


def _short(text: str) -> bytes:
    return pack(">B", len(text.encode())) + text.encode()
