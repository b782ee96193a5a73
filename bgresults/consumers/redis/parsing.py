""":class:`ReplyParser`: RESP2 in Python, where hiredis is not installed.

redis-py has a parser of its own, which reads the socket by itself and waits there for the rest of a message. This one
is given what has arrived.
"""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import InvalidResponse, ResponseError

__all__ = ["ReplyParser"]

_END: Final = b"\r\n"
# Bytes of an error, a status or a number; and arrays inside of each other. What is asked for here needs two of them.
_LONGEST_LINE: Final = 65536
_DEEPEST: Final = 8
_MOST_DIGITS: Final = 20
# In place of a value: an array whose members follow.
_BEGUN: Final = object()
_ERROR, _STATUS, _NUMBER, _BULK, _ARRAY = b"-+:$*"


class ReplyParser:
    """Takes bytes in any pieces and gives complete messages. What it has of ``hiredis.Reader`` is the same there."""

    def __init__(self) -> None:
        self._data = bytearray()
        # What is before this has been parsed.
        self._position = 0
        # The arrays that have begun, the outermost first: their members so far, and how many there will be.
        self._arrays: list[tuple[list[Any], int]] = []

    def feed(self, buffer: bytearray, offset: int, count: int) -> None:
        """So many bytes have arrived, at this place in ``buffer``."""
        del self._data[: self._position]
        self._position = 0
        self._data += memoryview(buffer)[offset : offset + count]

    def gets(self) -> Any:
        """The next message: bytes, int, None, a list of these, or a ``ResponseError``. False if there is none yet.

        Raises:
            InvalidResponse: this is no RESP2.
        """
        while (value := self._value()) is not False:
            if value is _BEGUN:
                continue
            # The last part of an array may be that of the one around it as well.
            while self._arrays:
                members, count = self._arrays[-1]
                members.append(value)
                if len(members) < count:
                    break
                self._arrays.pop()
                value = members
            else:
                return value
        return False

    def _value(self) -> Any:
        """The next part of a message, an array that has just begun among them. False if it is not complete."""
        data, start = self._data, self._position
        end = data.find(_END, start, start + _LONGEST_LINE)
        if end < 0:
            if len(data) - start >= _LONGEST_LINE:
                raise InvalidResponse("a line without an end")
            return False
        kind, line, after = data[start], bytes(data[start + 1 : end]), end + len(_END)
        if kind == _BULK:
            return self._string(_length(line), after)
        self._position = after
        if kind == _ARRAY:
            return self._array(_length(line))
        if kind == _STATUS:
            return line
        if kind == _NUMBER:
            return _number(line)
        if kind == _ERROR:
            return ResponseError(line.decode(errors="replace"))
        raise InvalidResponse(f"a message that begins with {bytes((kind,))!r}")

    def _string(self, length: int | None, start: int) -> Any:
        if length is None:
            self._position = start
            return None
        end = start + length
        mark = self._data[end : end + len(_END)]
        if len(mark) < len(_END):
            return False
        if mark != _END:
            raise InvalidResponse("a string that does not end where it was said to")
        self._position = end + len(_END)
        return bytes(self._data[start:end])

    def _array(self, length: int | None) -> Any:
        if not length:
            return None if length is None else []
        if len(self._arrays) >= _DEEPEST:
            raise InvalidResponse("too many arrays inside of each other")
        self._arrays.append(([], length))
        return _BEGUN


def _length(line: bytes) -> int | None:
    number = _number(line)
    if number < -1:
        raise InvalidResponse(f"a length of {number}")
    return None if number == -1 else number


def _number(line: bytes) -> int:
    if len(line) > _MOST_DIGITS or not line.removeprefix(b"-").isdigit():
        raise InvalidResponse(f"no number: {line[:_MOST_DIGITS]!r}")
    return int(line)
