"""Records what stock Celery writes: ``python -m tests.fuzz.record`` makes ``recorded.json`` anew.

The file is part of the tests, so that a seed means the same cases everywhere; its bodies are those of one version of
Celery. Every task in it has the same id, which a case replaces by its own.
"""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.backends.cache import CacheBackend
from celery.exceptions import TaskRevokedError
from kombu.connection import Connection
from kombu.entity import Queue

PLACEHOLDER = "00000000-0000-4000-8000-000000000000"
RECORDED = Path(__file__).with_name("recorded.json")
SERIALIZERS = ("json", "pickle", "msgpack", "yaml")

_STATES: list[tuple[str, Any]] = [
    ("SUCCESS", {"rows": [1, 2.5, None, True, "ä"], "empty": {}, "nested": [[["deep"]]]}),
    ("SUCCESS", None),
    ("SUCCESS", "text\n" * 20),
    ("STARTED", {"pid": 4711, "hostname": "celery@worker"}),
    ("PROGRESS", {"done": 3, "of": 10}),
    ("FAILURE", KeyError("missing")),
    ("FAILURE", OSError(2, "No such file", "/tmp/x")),
    ("FAILURE", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
    ("RETRY", ValueError("later")),
    ("REVOKED", TaskRevokedError("revoked")),
]
# kombu has no types of its own.
_Connection: Any = Connection
_Queue: Any = Queue


def stored(serializer: str) -> list[bytes]:
    """Bodies as Celery stores them under a key."""
    app = Celery(set_as_current=False)
    app.conf.update(accept_content=list(SERIALIZERS), result_extended=True)
    backend = CacheBackend(app, backend="memory://", serializer=serializer)
    bodies = []
    for state, result in _STATES:
        traceback = "Traceback (most recent call last):\n  …" if isinstance(result, Exception) else None
        backend.store_result(PLACEHOLDER, result, state, traceback=traceback, request=_request(app))
        body = backend.get(backend.get_key_for_task(PLACEHOLDER))
        bodies.append(body if isinstance(body, bytes) else body.encode())
        backend.delete(backend.get_key_for_task(PLACEHOLDER))
    app.close()
    return bodies


def replied(serializer: str) -> list[dict[str, Any]]:
    """Messages as Celery's rpc backend sends them: body and properties."""
    url = f"memory://{uuid.uuid4().hex}"
    app = Celery(set_as_current=False, broker=url, backend="rpc://")
    app.conf.update(accept_content=list(SERIALIZERS), result_serializer=serializer)
    connection = _Connection(url)
    queue = _Queue(f"replies-{serializer}").bind(connection.channel())
    queue.declare()
    messages = []
    for state, result in _STATES:
        app.backend.store_result(PLACEHOLDER, result, state, request=_request(app, queue.name))
        message = queue.get(no_ack=True)
        messages.append(
            {
                "body": _text(message.body),
                "content_type": message.content_type,
                "content_encoding": message.content_encoding,
                "correlation_id": message.properties["correlation_id"],
                "headers": message.headers,
            }
        )
    connection.release()
    app.close()
    return messages


def _request(app: Celery, reply_to: str | None = None) -> Any:
    return Context(
        id=PLACEHOLDER,
        task="proj.tasks.work",
        args=[1],
        kwargs={"a": "b"},
        hostname="celery@worker",
        delivery_info={"routing_key": "celery"},
        retries=1,
        group="11111111-1111-4111-8111-111111111111",
        children=[app.AsyncResult("22222222-2222-4222-8222-222222222222")],
        correlation_id=PLACEHOLDER,
        reply_to=reply_to,
    )


def _text(body: bytes | str) -> str:
    return base64.b64encode(body.encode() if isinstance(body, str) else body).decode()


def _main() -> None:
    recorded = {
        serializer: {"stored": [_text(body) for body in stored(serializer)], "replied": replied(serializer)}
        for serializer in SERIALIZERS
    }
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
