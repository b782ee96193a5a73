"""JSON of anything, of limited size, that every browser can parse.

Results may be what no JSON can say (out of a pickle, or kombu's typed values), or what Python's ``json`` says in a way
of its own (``NaN``), and they may be large.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["MOST_TEXT", "TooLargeError", "json_text", "plain", "printable", "shortened", "text_of"]

#: Characters of a text that somebody shall read, such as a description.
MOST_TEXT: Final = 1000
# Levels of lists and dicts within each other; what is deeper becomes text.
_DEEPEST: Final = 50
_CUT: Final = "…"
# Of a whole number: Python refuses to write down those of more than 4300 digits.
_MOST_BITS: Final = 10_000


class TooLargeError(ValueError):
    """It has more characters than are allowed."""


class _Repr(reprlib.Repr):
    """Stops early: the repr of a large container costs as much as the container is large."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MOST_TEXT
        self.maxset = self.maxfrozenset = self.maxdeque = 100


_repr = _Repr()


def json_text(value: Any) -> str:
    """A plain value as JSON, in ASCII: one line, whatever is in it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def plain(value: Any, most: int) -> Any:
    """The same made of dicts, lists, text, numbers, booleans and None alone; everything else is text, its ``repr``.

    Raises:
        TooLargeError: as JSON it has more than ``most`` characters. Nothing else, whatever the value does when touched.
    """
    return _Plain(most).of(value, _DEEPEST)


class _Plain:
    """One conversion, which counts as it goes."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any, levels: int) -> Any:
        # Not isinstance(): what a class says that it is may be a lie.
        kind = type(value)
        if value is None or kind is bool:
            return self._taken(value, 4)
        try:
            if issubclass(kind, str):
                return self._string(str.__str__(value))
            if issubclass(kind, int):
                number = int.__index__(value)
                return self._taken(number, number.bit_length() // 3) if number.bit_length() < _MOST_BITS else "<int>"
            if issubclass(kind, float) and math.isfinite(value):
                return self._taken(float.__float__(value), 8)
            if levels and issubclass(kind, Mapping):
                self._taken(None, 2)
                # Of a copy, whose methods are those of a dict.
                return {self._key(key): self.of(item, levels - 1) for key, item in dict(value).items()}
            if levels and issubclass(kind, (list, tuple)):
                self._taken(None, 2)
                return [self.of(item, levels - 1) for item in tuple(value)]
        except TooLargeError:
            raise
        except Exception:  # noqa: BLE001 - a class out of a pickle does what it likes
            pass
        return self._string(text_of(value))

    def _key(self, key: Any) -> str:
        return self._string(str.__str__(key) if issubclass(type(key), str) else text_of(key))

    def _string(self, text: str) -> str:
        # Escaping makes it longer, never shorter.
        self._taken(None, len(json.dumps(text)) if len(text) <= self._left else len(text))
        return text

    def _taken(self, value: Any, size: int) -> Any:
        self._left -= size + 1
        if self._left < 0:
            raise TooLargeError
        return value


def printable(text: str) -> str:
    """The same without what a terminal would obey: colours, titles, and a line that looks like another one."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def text_of(value: Any) -> str:
    """The ``repr`` of anything, shortened."""
    try:
        return shortened(_repr.repr(value))
    except Exception:  # noqa: BLE001 - as above; a number may be too long for a text
        return f"<{type(value).__name__}>"


def shortened(text: str) -> str:
    """A text with at most a thousand characters."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + _CUT
