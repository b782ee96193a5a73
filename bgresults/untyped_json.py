"""JSON without typed values, which is what most results are: read without kombu's object hook.

kombu's way costs a context manager for each body and a Python call for each object in it, to find out that none of them
stands for a typed value, such as a ``datetime``. Whether one does shows in the bytes.

msgspec reads them where it can be trusted, see :mod:`bgresults.fast_json`. Whatever it refuses, the standard library
decides on: it takes ``NaN`` and lone surrogates, and its words are those that users know.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from bgresults.fast_json import FEW, MOST, fast_reader

__all__ = ["TYPED", "untyped_json"]

_fast: Final = fast_reader()
#: In place of a value: kombu may make something else of it.
TYPED: Final = object()

_scan: Final = json.JSONDecoder().raw_decode
# A typed value is an object with the key `__type__`. JSON may spell each of its letters as an escape (`_` is \u005f,
# `t` is \u0074 …), all of which start with \u005, \u006 or \u007. Escaped accents (\u00e9) are none of these.
_KEY: Final = "__type__"
_QUOTED_KEY: Final = b'"__type__"'
_BACKSLASH: Final = b"\\"
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[567]")


def untyped_json(payload: bytes) -> Any:
    """What ``json.loads()`` makes of it; :data:`TYPED` if typed values may be inside.

    Raises:
        ValueError, RecursionError, MemoryError: as that does.
    """
    # The search for one byte is ten times as fast as that for several. Most results have no object but the outermost.
    objects_inside = payload.find(b"{", 1) >= 0
    if objects_inside and _has_key(payload):
        return TYPED
    if _fast is None or not _fits(payload, objects_inside):
        value = _loads(payload)
    else:
        try:
            value = _fast(payload)
        except (ValueError, RecursionError):
            value = _loads(payload)
    return TYPED if type(value) is dict and _KEY in value else value


def _fits(payload: bytes, objects_inside: bool) -> bool:
    """Whether it is neither too large nor too deep, as far as one can tell without reading it."""
    return len(payload) <= MOST and _few(b"[", payload) and (not objects_inside or _few(b"{", payload))


def _few(opening: bytes, payload: bytes) -> bool:
    # Counted by taking them out: replace() searches as find() does, which is ten times as fast as count().
    return len(payload) - len(payload.replace(opening, b"", FEW + 1)) <= FEW


def _has_key(payload: bytes) -> bool:
    return _QUOTED_KEY in payload or (_BACKSLASH in payload and _ESCAPED_LETTER.search(payload) is not None)


def _loads(payload: bytes) -> Any:
    """``json.loads()``; it looks for white space around the value, which takes a third of the time of a small one."""
    text = payload.decode()
    try:
        value, end = _scan(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)
