""":class:`Spans`: a span for each wait, made when it is over.

Until then only the context of its beginning is kept, without the span that was current there: a caller's span must not
stay in memory for as long as its task takes. So nothing has to be ended, whatever becomes of the wait, and a process
that dies leaves nothing open.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from bgresults.integrations.opentelemetry.carriers import Carriers, carrier_of
from bgresults.session import Session
from bgresults.waits import Ending

__all__ = ["EndedWait", "Spans", "caller_context"]

_FAILURES = ("failed", "expired", "refused")
# Schemes with one host and one port.
_ADDRESSES = ("redis", "rediss", "amqp", "amqps")


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
        """Of a wait that has just ended; on the drain thread."""
        wait, outcome, error, raw = ending
        status = name = carrier = None
        if raw is not None:
            status, name = raw["status"], raw.get("name")
            if raw.get("stamped_headers"):
                carrier = carrier_of(raw)
        return cls(*note, wait.task_id, began_at, ended_at, outcome, error, status, name, carrier)


def caller_context() -> Context | None:
    """The context of a caller, of whose current span only the ids are kept."""
    current = contexts.get_current()
    if not current:
        return None
    span = trace.get_current_span(current)
    return trace.set_span_in_context(NonRecordingSpan(span.get_span_context()), current)


class Spans:
    """Makes the spans.

    Args:
        tracer: whose they are.
        carriers: what is known of tasks that were sent from here.
    """

    def __init__(self, tracer: Tracer, carriers: Carriers) -> None:
        self._tracer = tracer
        self._carriers = carriers

    def make(self, wait: EndedWait) -> None:
        """Begin and end the span of a wait. What processors and samplers raise comes out."""
        sent = self._carriers.find(wait.task_id)
        name = wait.name or (sent.name if sent is not None else None)
        now, now_ns = time.monotonic(), time.time_ns()
        ended = now_ns - int((now - wait.ended_at) * 1e9)
        span = self._tracer.start_span(
            f"wait {name or wait.session.settings.name}",
            # An empty one, instead of whatever is current here.
            context=Context() if wait.context is None else wait.context,
            kind=SpanKind.CLIENT,
            attributes=_attributes(wait, name),
            links=_links(wait.carrier or (sent.carrier if sent is not None else None)),
            start_time=now_ns - int((now - wait.began_at) * 1e9),
        )
        try:
            if wait.error is not None and wait.outcome in _FAILURES:
                span.record_exception(wait.error, timestamp=ended)
                span.set_status(Status(StatusCode.ERROR, f"{type(wait.error).__name__}: {wait.error}"))
        finally:
            # Also when a message cannot be made of the error.
            span.end(end_time=ended)


def _attributes(wait: EndedWait, name: str | None) -> dict[str, AttributeValue]:
    """By the semantic conventions for messaging, and the names that Celery's own instrumentation has."""
    session = wait.session
    settings = session.settings
    found: dict[str, AttributeValue | None] = {
        "messaging.system": _system(settings.address),
        "messaging.operation.name": "wait",
        "messaging.operation.type": "receive",
        "messaging.destination.temporary": True,
        "messaging.message.conversation_id": wait.task_id,
        "celery.task_name": name,
        "celery.state": wait.status,
        "bgresults.watcher": settings.name,
        "bgresults.outcome": wait.outcome,
    }
    if settings.binding == "process":
        found["messaging.destination.name"] = session.reply_queue
    elif settings.binding is None:
        found["messaging.destination.template"] = "celery-task-meta-{task_id}"
    parts = urlsplit(settings.address)
    if parts.scheme in _ADDRESSES:
        found["server.address"], found["server.port"] = parts.hostname, parts.port
    if wait.error is not None and wait.outcome in _FAILURES:
        kind = type(wait.error)
        found["error.type"] = f"{kind.__module__}.{kind.__qualname__}"
    return {key: value for key, value in found.items() if value is not None}


def _system(address: str) -> str:
    scheme = address.partition("://")[0].removeprefix("rpc+")
    if scheme in ("amqp", "amqps", "pyamqp", "rpc"):
        return "rabbitmq"
    return "redis" if scheme in ("redis", "rediss", "unix", "socket", "sentinel") else scheme


def _links(carrier: dict[str, str] | None) -> list[Link]:
    if not carrier:
        return []
    found: Any = trace.get_current_span(propagate.extract(carrier, context=Context())).get_span_context()
    return [Link(found)] if found.is_valid else []
