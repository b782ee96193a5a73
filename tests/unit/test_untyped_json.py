"""JSON without typed values: what the standard library makes of it, with msgspec and without."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgresults import untyped_json as module
from bgresults.fast_json import FEW, MOST
from bgresults.untyped_json import TYPED, untyped_json


@pytest.fixture(params=["msgspec", "json"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if msgspec was not installed, too."""
    if request.param == "msgspec":
        if module._fast is None:
            pytest.skip("msgspec is not installed, or memory is limited here")
    else:
        monkeypatch.setattr(module, "_fast", None)
    return str(request.param)


def outcome(read: Any, payload: bytes | str) -> tuple[type, str]:
    """The value with the types inside, or the class of the error."""
    try:
        value = read(payload)
    except (ValueError, RecursionError) as error:
        return type(error), ""
    return type(value), repr(value)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": [1, -2.5e3, true, false, null, "\\u00e9\\n"]}',
        b" \r\n\t[1] \n",
        # Integers of any size, and floats as close as they get.
        b"[18446744073709551616, -9223372036854775809, 123456789012345678901234567890]",
        # What msgspec before 0.19 gets wrong.
        b"[19933688932870350000, 18446744073709551617, -19933688932870350000]",
        b"[-0, -0.0, 1E5, 0e0, 5e-324, 1e-400, 9007199254740993.0, 1.7976931348623159e308, 0.1]",
        # Python refuses to read more than 4300 digits.
        b"9" * 5000,
        b"[-" + b"9" * 5000 + b"]",
        b"0." + b"123456789" * 1000,
        # Not JSON, but what Python writes.
        b"[NaN, Infinity, -Infinity, 1e999]",
        b'"\\ud800"',
        b'["\\udc00", "\\ud800x", "\\ud800\\u0041"]',
        b'{"a key of more than thirty-two characters": 1, "\xc3\xa9": 2, "\\u00e9": 3}',
        b'{"\xff": 1}',
        b'"\\ud83d\\ude00"',
        b'{"a": 1, "a": 2, "a\\u0062": 3, "ab": 4}',
        b'"a\nb"',
        b'"\\u0000\x7f"',
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"01",
        b"1.",
        b"[1,]",
        b"[1] x",
        b"nul",
        b"",
        b"[" * 900 + b"]" * 900,
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_the_same_as_json(payload: bytes) -> None:
    assert outcome(untyped_json, payload) == outcome(lambda body: json.loads(body.decode()), payload)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_whatever_python_writes(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        payload = text.encode()
    except UnicodeEncodeError:
        payload = json.dumps(value, indent=indent).encode()
    read = untyped_json(payload)
    if read is not TYPED:
        assert repr(read) == repr(json.loads(payload))


@settings(deadline=None)
@given(st.text(st.sampled_from('[]{},:"\\ntrue1e-.0 \x00é'), max_size=12))
def test_whatever_looks_like_it(text: str) -> None:
    assert outcome(untyped_json, text.encode()) == outcome(json.loads, text)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"__type__": "decimal", "__value__": "1.5"}',
        b'{"\\u005f_type__": "decimal", "__value__": "1.5"}',
        b'{"status": "SUCCESS", "result": {"__type__": "decimal", "__value__": "1.5"}}',
        b'{"result": [{"_\\u005ft\\u0079pe__": "decimal", "__value__": "1.5"}]}',
        b' [{"__type__": 1}]',
    ],
)
def test_left_to_kombu(payload: bytes) -> None:
    assert untyped_json(payload) is TYPED


@pytest.mark.parametrize("payload", [b'{"a": "__type__"}', b'["__type__"]', b'"__type__"', b'{"caf\\u00e9": {"b": 1}}'])
def test_not_left_to_kombu(payload: bytes) -> None:
    assert untyped_json(payload) == json.loads(payload)


def test_msgspec_is_used(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refused(text: str) -> Any:
        asked.append(text)
        return json.JSONDecoder().raw_decode(text)

    monkeypatch.setattr(module, "_scan", refused)
    assert untyped_json(b"[1, 2]") == [1, 2]
    assert math.isnan(untyped_json(b"NaN"))
    assert asked == (["NaN"] if reader == "msgspec" else ["[1, 2]", "NaN"])


def test_a_large_body_is_left_to_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """msgspec crashes where it gets no memory."""
    asked: list[int] = []

    def fast(payload: bytes) -> Any:
        asked.append(len(payload))
        return json.loads(payload)

    monkeypatch.setattr(module, "_fast", fast)
    for size in (MOST, MOST + 1):
        assert untyped_json(b'"' + b"x" * (size - 2) + b'"') == "x" * (size - 2)
    assert asked == [MOST]


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_deep_body_is_left_to_json(monkeypatch: pytest.MonkeyPatch, opening: str, closing: str) -> None:
    """msgspec takes more of the stack, and nobody knows how much there is."""
    asked: list[bytes] = []

    def fast(payload: bytes) -> Any:
        asked.append(payload)
        return json.loads(payload)

    monkeypatch.setattr(module, "_fast", fast)
    for levels in (FEW, FEW + 1):
        text = f"{opening * levels}1{closing * levels}"
        assert untyped_json(text.encode()) == json.loads(text)
    assert [payload.count(opening.encode()) for payload in asked] == [FEW]
