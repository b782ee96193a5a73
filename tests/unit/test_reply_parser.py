"""RESP2 without hiredis: the same messages from the same bytes, in whatever pieces they come."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, ResponseError

from bgresults.consumers.redis.parsing import ReplyParser

hiredis: Any = pytest.importorskip("hiredis")

LINES = st.binary(max_size=20).filter(lambda line: not {13, 10} & set(line))
SINGLES = st.one_of(
    st.binary(max_size=60).map(lambda text: b"$%d\r\n%s\r\n" % (len(text), text)),
    LINES.map(lambda line: b"+%s\r\n" % line),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=9).map(
        lambda text: f"-ERR {text}\r\n".encode()
    ),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n"]),
)
MESSAGES = st.recursive(
    SINGLES,
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda them: b"*%d\r\n" % len(them) + b"".join(them)),
    max_leaves=20,
)


def parsed(parser: Any, pieces: list[bytes]) -> list[Any]:
    """All messages that the parser finds; asked for as often as something comes."""
    found = []
    for piece in pieces:
        parser.feed(bytearray(b"??" + piece), 2, len(piece))
        while (message := parser.gets()) is not False:
            found.append(message)
    return found


def comparable(message: Any) -> Any:
    if isinstance(message, list):
        return [comparable(member) for member in message]
    return (type(message), str(message)) if isinstance(message, Exception) else message


@given(st.lists(MESSAGES, max_size=6).map(b"".join), st.lists(st.integers(0, 400), max_size=12))
def test_the_same_as_with_hiredis(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    ours = parsed(ReplyParser(), pieces)
    theirs = parsed(hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError), pieces)
    assert comparable(ours) == comparable(theirs)


def test_byte_by_byte() -> None:
    stream = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n:1\r\n"
    pieces = [stream[place : place + 1] for place in range(len(stream))]
    assert parsed(ReplyParser(), pieces) == [[b"message", b"a", b"\r\n"], 1]


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "begins with b'H'"),
        (b"\r\n", "begins with"),
        (b"$x\r\n", "no number"),
        (b"$1_0\r\n", "no number"),
        (b"$-2\r\n", "a length of -2"),
        (b"*-2\r\n", "a length of -2"),
        (b":\r\n", "no number"),
        (b":" + 30 * b"9" + b"\r\n", "no number"),
        (b"$1\r\nabc", "does not end where"),
        (b"*1\r\n" * 9, "inside of each other"),
        (b"+" + 70_000 * b"a", "without an end"),
    ],
)
def test_what_is_no_resp2(stream: bytes, what: str) -> None:
    with pytest.raises(InvalidResponse, match=what):
        parsed(ReplyParser(), [stream])


def test_a_huge_announcement_takes_no_room() -> None:
    assert parsed(ReplyParser(), [b"*1000000000000\r\n$1000000000000\r\nab"]) == []
