"""Cases: a seed, a serializer and a number say everything about one."""

from __future__ import annotations

import base64
import functools
import json
import random
from dataclasses import dataclass, field
from typing import Any

from celery.backends import base as celery_base
from kombu import compression

from tests.fuzz.grammar import sentence
from tests.fuzz.mutation import mutated
from tests.fuzz.record import PLACEHOLDER, RECORDED, SERIALIZERS

__all__ = ["SERIALIZERS", "Case", "case_id", "make_case"]

# kombu has no types of its own.
_compression: Any = compression
_MARK: bytes = getattr(celery_base, "COMPRESSED_PAYLOAD_PREFIX", b"\x00celery-compressed\x00")
_METHODS = tuple(method for method in ("gzip", "bzip2", "lzma", "zstd", "brotli") if method in _compression._aliases)
_CONTENT_TYPES = (
    None,
    "",
    "application/json",
    "application/data",
    "text/plain",
    "no/such",
    "application/x-yaml",
    "\x00",
)
_ENCODINGS = (None, "", "utf-8", "binary", "utf-16", "no-such", "us-ascii")


@dataclass(frozen=True)
class Case:
    """One result.

    Attributes:
        seed, serializer, number: what it is made of.
        task_id: whose it is.
        body: as it is stored, or sent.
        properties: of the message, where it is sent: content type and encoding, correlation id, headers.
    """

    seed: int
    serializer: str
    number: int
    task_id: str
    body: bytes
    properties: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"case {self.number} of serializer {self.serializer}, seed {self.seed}: "
            f"properties {self.properties!r}, body {self.body[:2000]!r}"
            f"{'…' if len(self.body) > 2000 else ''} ({len(self.body)} bytes)"
        )


def case_id(serializer: str, number: int) -> str:
    """As long as a real one."""
    return f"f0220000-{SERIALIZERS.index(serializer):04x}-4000-8000-{number:012x}"


def make_case(seed: int, serializer: str, number: int, *, sent: bool = False) -> Case:
    """The case; with ``sent`` as a message with properties, else as a stored value."""
    source = random.Random(f"{seed} {serializer} {number} {sent}")
    task_id = case_id(serializer, number)
    others = tuple(case_id(serializer, max(0, number + step)) for step in (-1, 1))
    corpus = _corpus(serializer)
    properties: dict[str, Any] = {}
    recorded, properties = source.choice(corpus[sent])
    if source.random() < 0.5:
        body = sentence(source, serializer, task_id, others)
    else:
        body = recorded.replace(PLACEHOLDER.encode(), task_id.encode())
    if source.random() < 0.4:
        body = mutated(source, body, tuple(other for other, _ in corpus[sent]))
    if not sent:
        return Case(seed, serializer, number, task_id, _perhaps_compressed(source, body))
    properties = {**properties, "correlation_id": task_id}
    if source.random() < 0.1:
        method = source.choice(_METHODS)
        data, content_type = _compression.compress(body, method)
        properties["headers"] = {"compression": source.choice((content_type, method))}
        body = mutated(source, data, (body,)) if source.random() < 0.3 else data
    _twist(source, properties, others)
    return Case(seed, serializer, number, task_id, body, properties)


def _perhaps_compressed(source: random.Random, body: bytes) -> bytes:
    drawn = source.random()
    if drawn > 0.1:
        return body
    data, content_type = _compression.compress(body, source.choice(_METHODS))
    body = _MARK + content_type.encode() + b"\x00" + data
    return mutated(source, body, (body,)) if drawn < 0.04 else body


def _twist(source: random.Random, properties: dict[str, Any], others: tuple[str, ...]) -> None:
    """What is wrong with the message around the body, if anything is."""
    if source.random() < 0.05:
        properties["content_type"] = source.choice(_CONTENT_TYPES)
    if source.random() < 0.05:
        properties["content_encoding"] = source.choice(_ENCODINGS)
    if source.random() < 0.05:
        properties["correlation_id"] = source.choice((None, "", "nobody", *others))
    if source.random() < 0.05:
        properties["headers"] = source.choice(
            (
                {"compression": source.choice(("no/such", 5, [1], {"a": 1}, "", None, True))},
                {"a": {"b": [1, "x", None, 2**40, 1.5]}},
                {},
            )
        )


@functools.cache
def _corpus(serializer: str) -> dict[bool, tuple[tuple[bytes, dict[str, Any]], ...]]:
    """Whether sent → recorded bodies with their properties."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))[serializer]
    sent = []
    for message in recorded["replied"]:
        properties = dict(message)
        sent.append((base64.b64decode(properties.pop("body")), properties))
    stored: Any = tuple((base64.b64decode(body), {}) for body in recorded["stored"])
    return {False: stored, True: tuple(sent)}
