"""msgspec is used where it makes the same of everything, and cannot be refused memory."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bgresults import fast_json
from bgresults.fast_json import fast_reader

pytest.importorskip("msgspec")


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever limits the tests run under."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(fast_json, "_OVERCOMMIT", tmp_path / "none")


def test_it_reads() -> None:
    read = fast_reader()
    assert read is not None
    assert read(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("body", [b"[", b"NaN", b'"\\ud800"', b'"\xff"', b"9" * 5000, b"[" * 100_000])
def test_what_it_refuses(body: bytes) -> None:
    read = fast_reader()
    assert read is not None
    with pytest.raises((ValueError, RecursionError)):
        read(body)


@pytest.mark.parametrize("value", [1.993368893287035e19, 1482881526185800828])
def test_an_old_one(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """What versions before 0.17, and before 0.19, make of one integer."""
    old = ModuleType("msgspec.json")
    old.Decoder = lambda: SimpleNamespace(decode=lambda _: value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msgspec.json", old)
    assert fast_reader() is None


def test_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert fast_reader() is None


@pytest.mark.parametrize("which", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_where_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    unlimited = resource.getrlimit
    monkeypatch.setattr(
        resource, "getrlimit", lambda limit: (1 << 30, -1) if limit == getattr(resource, which) else unlimited(limit)
    )
    assert fast_reader() is None


def test_where_there_is_no_such_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on OpenBSD."""
    monkeypatch.delattr(resource, "RLIMIT_AS")
    assert fast_reader() is not None


@pytest.mark.parametrize(("setting", "used"), [("0\n", True), ("1\n", True), ("2\n", False), (None, True)])
def test_what_the_kernel_promises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str | None, used: bool
) -> None:
    path = tmp_path / "overcommit_memory"
    if setting is not None:
        path.write_text(setting)
    monkeypatch.setattr(fast_json, "_OVERCOMMIT", path)
    assert (fast_reader() is not None) is used


def test_where_there_are_no_limits_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert fast_reader() is None


def test_no_memory_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: bytes) -> object:
        raise SystemError("returned NULL without setting an exception")

    class Refusing:
        def decode(self, body: bytes) -> object:
            return json.loads(body) if body == fast_json._TELLING else refused(body)

    monkeypatch.setattr("msgspec.json.Decoder", Refusing)
    read = fast_reader()
    assert read is not None
    with pytest.raises(ValueError, match="without setting an exception"):
        read(b"1")
