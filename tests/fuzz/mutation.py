"""Real bodies, with something wrong in them."""

from __future__ import annotations

import random

__all__ = ["mutated"]

_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x22, 0x5B, 0x7B, 0x2E)
_PIECES = (
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b'""',
    b"[]",
    b"{}",
    b'"status"',
    b'"task_id"',
    b"SUCCESS",
    b"FAILURE",
    b"\\u0000",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"__type__",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"&a ",
    b"*a ",
    b"<<: ",
    b"!!int ",
    b"? ",
    b"- " * 20,
    b"9" * 30,
)


def mutated(source: random.Random, body: bytes, others: tuple[bytes, ...]) -> bytes:
    """``body`` with one to eight changes; ``others`` are what it may be crossed with."""
    found = bytearray(body)
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        _change(source, found, others)
    return bytes(found)


def _change(source: random.Random, body: bytearray, others: tuple[bytes, ...]) -> None:
    start = source.randrange(len(body) + 1)
    end = min(len(body), start + source.choice((1, 1, 2, 4, 16, 64)))
    kind = source.randrange(9)
    if kind == 0 and start < len(body):
        body[start] ^= 1 << source.randrange(8)
    elif kind == 1 and start < len(body):
        body[start] = source.choice(_BYTES)
    elif kind == 2:
        del body[start:end]
    elif kind == 3:
        body[start:start] = body[start:end]
    elif kind == 4:
        body[start:start] = source.choice(_PIECES)
    elif kind == 5:
        body[start:end] = source.choice(_PIECES)
    elif kind == 6:
        del body[start:]
    elif kind == 7:
        other = source.choice(others)
        place = source.randrange(len(other) + 1)
        body[start:end] = other[place : place + source.choice((1, 4, 16, 64))]
    else:
        body[start:end] = source.randbytes(end - start)
