"""Results as JSON: whatever they are, the page can parse them, and they are not too many."""

from __future__ import annotations

import datetime
import enum
import json
import math
import pickle
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bgresults import ResultWatcher
from bgresults.testing import RedisServer
from tests.sse.reading import Follower
from tests.support.results import ResultWriter, new_id

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    """A subclass whose own methods are not asked."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class Hostile:
    """Raises when it is looked at, and says that it is something else."""

    def __reduce__(self) -> Any:
        return Hostile, ()

    def __repr__(self) -> str:
        raise RuntimeError

    @property  # type: ignore[misc]  # a lie
    def __class__(self) -> Any:
        return dict


class HostileDict(dict[Any, Any]):
    """Is written as it should be, and cannot be read any more."""

    def keys(self) -> Any:
        raise RuntimeError

    __iter__ = __repr__ = keys


@pytest.fixture
def pickled(redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWatcher]:
    """Watches workers that pickle."""
    with ResultWatcher(redis_server.url(), key_prefix=key_prefix, serializer="pickle") as made:
        yield made


def strict(text: str) -> Any:
    """As ``JSON.parse()``: it knows no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def told(watcher: ResultWatcher, writer: ResultWriter, value: Any) -> Any:
    """What a page is told of a pickled value."""
    task_id = new_id()
    body = {"task_id": task_id, "status": "SUCCESS", "result": value, "traceback": None, "children": []}
    writer.write_body(task_id, pickle.dumps(body))
    with Follower("sse", watcher, task_id) as stream:
        final, end = stream.events()
    assert (final.name, end.name) == ("state", "end")
    data = strict(final.data)
    assert strict(end.data) == data
    return data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 2.5, None, True, "ü\u2028\r\n")}, {"a": [1, 2.5, None, True, "ü\u2028\r\n"]}),
        (math.nan, "nan"),
        ([math.inf, -math.inf], ["inf", "-inf"]),
        (datetime.date(2024, 2, 29), "datetime.date(2024, 2, 29)"),
        ({1, 2, 3}, "{1, 2, 3}"),
        (b"\x00", "b'\\x00'"),
        ({1: "int", None: "none", (2, 3): "tuple"}, {"1": "int", "None": "none", "(2, 3)": "tuple"}),
        (Point(1, 2), [1, 2]),
        (Colour.RED, 1),
        (Name("name"), "name"),
        (OrderedDict(a=1), {"a": 1}),
        ("\ud800", "\ud800"),
        (10**300, 10**300),
        (10**5000, "<int>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(pickled: ResultWatcher, writer: ResultWriter, value: Any, expected: Any) -> None:
    data = told(pickled, writer, value)
    assert data["result"] == expected
    assert "truncated" not in data


def test_values_that_cannot_be_read(pickled: ResultWatcher, writer: ResultWriter) -> None:
    """Whatever they are instead, what is beside them is told."""
    *hostile, harmless = told(pickled, writer, [Hostile(), HostileDict(a=1), 1])["result"]
    assert harmless == 1
    assert all(isinstance(text, str) and len(text) <= 1000 for text in hostile)


def test_depth(pickled: ResultWatcher, writer: ResultWriter) -> None:
    value: Any = "bottom"
    for _ in range(300):
        value = [value]
    data = told(pickled, writer, value)
    depth, found = 0, data["result"]
    while isinstance(found, list):
        depth, found = depth + 1, found[0]
    assert 40 < depth <= 50
    assert isinstance(found, str)


@pytest.mark.parametrize(
    "value",
    ["x" * 300_000, '"' * 200_000, list(range(200_000)), [[[]] * 1000] * 200, {str(key): 1 for key in range(50_000)}],
    ids=["text", "quotes", "numbers", "lists", "keys"],
)
def test_what_is_too_large_is_left_out(pickled: ResultWatcher, writer: ResultWriter, value: Any) -> None:
    data = told(pickled, writer, value)
    assert data["result"] is None
    assert data["truncated"] is True
    assert data["success"] is True


def test_an_id_that_is_too_large(watcher: ResultWatcher, writer: ResultWriter) -> None:
    """The page asked for it, so it gets it."""
    task_id = "i" * 300_000
    writer.write(task_id, "result")
    with Follower("sse", watcher, task_id) as stream:
        final, end = stream.events()
    assert final.json == end.json
    assert (final.json["task_id"], final.json["truncated"]) == (task_id, True)


def test_a_value_that_contains_itself(pickled: ResultWatcher, writer: ResultWriter) -> None:
    one: list[Any] = []
    one.append(one)
    many: list[Any] = []
    many.extend([many, many])
    assert "truncated" not in told(pickled, writer, one)
    assert told(pickled, writer, many)["truncated"] is True


_KEYS = st.one_of(st.text(), st.integers(), st.none(), st.booleans())
_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
        st.binary(),
        st.decimals(),
        st.datetimes(),
        st.uuids(),
        st.sets(st.integers()),
        st.complex_numbers(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_KEYS, inner), st.tuples(inner, inner)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(_VALUES, st.text(st.characters()), st.text(st.characters()))
def test_any_value_and_any_text_keep_the_frame(
    pickled: ResultWatcher, writer: ResultWriter, value: Any, name: str, description: str
) -> None:
    """Two events and no more, each one line of JSON, whatever the task returned or wrote into its details."""
    task_id = new_id()
    for status, result in (
        (f"own {name}", {"current": value, "total": value, "percent": value, "description": description}),
        ("SUCCESS", value),
    ):
        writer.write_body(task_id, pickle.dumps({"task_id": task_id, "status": status, "result": result}))
        with Follower("sse", pickled, task_id) as stream:
            event = stream.event()
            data = strict(event.data)
            assert (event.name, "\n" in event.data) == ("state", False)
            assert data["state"] == status[:200]
            assert 0 <= data["progress"]["percent"] <= 100
            if status != "SUCCESS":
                assert data["progress"]["description"] in (description, description[:999] + "…")
    assert stream.sent.count(b"\n\n") == 3, "the hint, the state, and the end"
