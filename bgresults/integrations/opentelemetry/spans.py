""":class:`Spans`: a span for each wait, made when it is over.

Until then only the context of its beginning is kept, without the span that was current there: a caller's span must not
stay in memory for as long as its task takes. So nothing has to be ended, whatever becomes of the wait, and a process
that dies leaves nothing open.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from bgresults.integrations.opentelemetry.carriers import Carriers
from bgresults.integrations.opentelemetry.ended import FAILURES, EndedWait
from bgresults.integrations.opentelemetry.many import Many
from bgresults.session import Session

__all__ = ["Spans", "caller_context"]

# Schemes with one host and one port.
_ADDRESSES = ("redis", "rediss", "amqp", "amqps")


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
        attributes = {
            **_common(wait.session),
            "messaging.message.conversation_id": wait.task_id,
            "celery.task_name": name,
            "celery.state": wait.status,
            "bgresults.outcome": wait.outcome,
        }
        failed = [wait] if wait.error is not None and wait.outcome in FAILURES else []
        self._make(name or wait.session.settings.name, wait, attributes, [wait], failed)

    def make_for_many(self, many: Many) -> None:
        """Begin and end the one span of many waits. What processors and samplers raise comes out."""
        attributes = {**_common(many.session), "messaging.batch.message_count": many.count}
        for outcome, count in many.outcomes.items():
            attributes[f"bgresults.outcome.{outcome}"] = count
        failed = [wait for wait in many.failed if wait.error is not None]
        self._make(many.session.settings.name, many, attributes, many.first, failed)

    def _make(
        self,
        name: str,
        what: EndedWait | Many,
        attributes: dict[str, AttributeValue | None],
        linked: Iterable[EndedWait],
        failed: Sequence[EndedWait],
    ) -> None:
        now, now_ns = time.monotonic(), time.time_ns()
        ended = now_ns - int((now - what.ended_at) * 1e9)
        if failed:
            attributes["error.type"] = _name_of(failed[0].error)
        span = self._tracer.start_span(
            f"wait {name}",
            # An empty one, instead of whatever is current here.
            context=Context() if what.context is None else what.context,
            kind=SpanKind.CLIENT,
            attributes={key: value for key, value in attributes.items() if value is not None},
            links=[link for wait in linked for link in self._links(wait)],
            start_time=now_ns - int((now - what.began_at) * 1e9),
        )
        try:
            for number, wait in enumerate(failed):
                assert wait.error is not None
                span.record_exception(wait.error, timestamp=ended)
                if not number:
                    span.set_status(Status(StatusCode.ERROR, f"{type(wait.error).__name__}: {wait.error}"))
        finally:
            # Also when a message cannot be made of the error.
            span.end(end_time=ended)

    def _links(self, wait: EndedWait) -> list[Link]:
        """To the trace of the task, where that is known."""
        sent = self._carriers.find(wait.task_id)
        carrier = wait.carrier or (sent.carrier if sent is not None else None)
        if not carrier:
            return []
        found: Any = trace.get_current_span(propagate.extract(carrier, context=Context())).get_span_context()
        return [Link(found)] if found.is_valid else []


def _common(session: Session) -> dict[str, AttributeValue | None]:
    """By the semantic conventions for messaging, and the names that Celery's own instrumentation has."""
    settings = session.settings
    found: dict[str, AttributeValue | None] = {
        "messaging.system": _system(settings.address),
        "messaging.operation.name": "wait",
        "messaging.operation.type": "receive",
        "messaging.destination.temporary": True,
        "bgresults.watcher": settings.name,
    }
    if settings.binding == "process":
        found["messaging.destination.name"] = session.reply_queue
    elif settings.binding is None:
        found["messaging.destination.template"] = "celery-task-meta-{task_id}"
    parts = urlsplit(settings.address)
    if parts.scheme in _ADDRESSES:
        found["server.address"], found["server.port"] = parts.hostname, parts.port
    return found


def _name_of(error: BaseException | None) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


def _system(address: str) -> str:
    scheme = address.partition("://")[0].removeprefix("rpc+")
    if scheme in ("amqp", "amqps", "pyamqp", "rpc"):
        return "rabbitmq"
    return "redis" if scheme in ("redis", "rediss", "unix", "socket", "sentinel") else scheme
