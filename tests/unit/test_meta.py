"""Payload bytes → mapping → TaskMeta, from real Celery bodies to hostile ones."""

from __future__ import annotations

import ast
import bz2
import contextlib
import inspect
import json
import math
import pickle
import subprocess
import sys
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from celery.backends import base as celery_base
from celery.backends.cache import CacheBackend
from hypothesis import example, given
from hypothesis import strategies as st
from kombu import serialization

from bgresults import bounded_reading, decompression, serializers
from bgresults import meta as meta_module
from bgresults.errors import ResultDecodeError
from bgresults.meta import READY_STATES, Decoder, TaskMeta

ALL = ["json", "pickle", "yaml", "msgpack"]
JSON = "application/json"
MARK = b"\x00celery-compressed\x00"
# kombu has no annotations: without this name every call of it would be an error of mypy's.
registry: Any = serialization.registry


def celery_payload(serializer: str, value: Any) -> tuple[str, bytes]:
    """A task id and what Celery's own backend stores for it."""
    app = Celery(set_as_current=False)
    app.conf.accept_content = ALL
    backend = CacheBackend(app, backend="memory://", serializer=serializer)
    task_id = str(uuid.uuid4())
    backend.store_result(task_id, value, "SUCCESS")
    stored = backend.get(backend.get_key_for_task(task_id))
    return task_id, stored if isinstance(stored, bytes) else stored.encode()


def body(**fields: Any) -> bytes:
    return json.dumps({"status": "SUCCESS", "task_id": "t", "result": 1, **fields}).encode()


def refused(decoder: Decoder, payload: Any, **properties: Any) -> str:
    with pytest.raises(ResultDecodeError) as caught:
        decoder.decode(payload, **properties)
    assert caught.value.__context__ is None, "it keeps the reader's error, and with it the payload"
    assert len(str(caught.value)) < 300
    return str(caught.value)


class TestWhatCeleryStores:
    @pytest.mark.parametrize("serializer", ALL)
    @pytest.mark.parametrize("method", [None, "gzip", "bzip2"])
    def test_is_read(self, serializer: str, method: str | None) -> None:
        task_id, payload = celery_payload(serializer, {"a": [1, "ä", None]})
        if method and not hasattr(celery_base, "compress_payload"):
            pytest.skip("this Celery does not compress")
        if method:
            payload = celery_base.compress_payload(payload, method)
        decoded = Decoder(serializer).decode_for(task_id, payload)
        assert type(decoded) is dict
        assert (decoded["status"], decoded["result"]) == ("SUCCESS", {"a": [1, "ä", None]})

    def test_typed_values_of_json_come_back(self) -> None:
        value = {"when": datetime(2026, 1, 2, tzinfo=timezone.utc), "price": Decimal("1.10"), "raw": b"\xff"}
        assert Decoder().decode_for(*celery_payload("json", value))["result"] == value

    def test_nan_is_a_value(self) -> None:
        assert math.isnan(Decoder().decode(body(result=math.nan))["result"])

    def test_a_message_says_its_own_type_and_compression(self) -> None:
        decoder = Decoder("json", accept=["json", "application/x-python-serialize"])
        content_type, encoding, payload = registry.dumps({"status": "S", "task_id": "t"}, serializer="pickle")
        properties = {"content_type": content_type, "content_encoding": encoding, "compression": "application/x-bz2"}
        assert decoder.decode(bz2.compress(payload), **properties)["status"] == "S"

    @pytest.mark.parametrize("convert", [bytearray, memoryview, lambda payload: payload.decode()])
    def test_other_buffers_and_text(self, convert: Any) -> None:
        assert Decoder().decode(convert(body()))["result"] == 1

    def test_a_subclass_of_str_becomes_plain(self) -> None:
        state = type("state", (str,), {"__eq__": None, "__hash__": str.__hash__, "__module__": __name__})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "state", state, raising=False)
            payload = pickle.dumps({"status": state("SUCCESS"), "task_id": state("t")})
            decoded = Decoder("pickle").decode_for("t", payload)
        assert {type(decoded["status"]), type(decoded["task_id"])} == {str}

    def test_a_subclass_of_dict_becomes_plain(self) -> None:
        assert type(Decoder("pickle").decode(pickle.dumps(OrderedDict(status="S", task_id="t")))) is dict


class SystemExitOnLoad:
    def __reduce__(self) -> Any:
        return sys.exit, ("out of a pickle",)


class HostileMapping(dict[str, Any]):
    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt  # makes dict() ask for the keys

    def keys(self) -> Any:
        raise KeyboardInterrupt


NOT_JSON = [b"", b"\x00", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b'{"a":' * 100_000]
NOT_JSON += [b"\xef\xbb\xbf" + body(), body().decode().encode("utf-16")]
NOT_TYPED = [b'{"__type__": "datetime", "__value__": "no"}', b'{"__type__": [], "__value__": 1}']
NOT_TYPED += [b'{"__type__": "nobody", "__value__": "' + b"x" * 10_000 + b'"}']
NOT_COMPRESSED = [MARK, MARK + b"application/x-gzip", MARK + b"application/x-gzip\x00garbage"]
NOT_COMPRESSED += [MARK + b"unknown/method\x00" + body(), MARK + b"\xff\xff\x00" + body()]
NOT_LOADABLE = [b"", b"\xc1", b"{", b"cos\nsystem\n", b"!!python/object:os.system {}", b"\x80"]


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        "payload",
        [*NOT_JSON, *NOT_TYPED, *NOT_COMPRESSED, "\ud800", None, 7, [1]],
        ids=lambda payload: repr(payload)[:30],
    )
    def test_is_a_decode_error(self, payload: Any) -> None:
        refused(Decoder(), payload)
        refused(Decoder(), payload, compression="no/such")

    @pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
    @pytest.mark.parametrize("payload", NOT_LOADABLE)
    def test_in_other_serializers(self, serializer: str, payload: bytes) -> None:
        refused(Decoder(serializer), payload)

    def test_an_unpickler_that_exits(self) -> None:
        assert "SystemExit" in refused(Decoder("pickle"), pickle.dumps(SystemExitOnLoad()))

    def test_a_mapping_that_interrupts(self) -> None:
        refused(Decoder("pickle"), pickle.dumps(HostileMapping(status="SUCCESS", task_id="t")))

    @pytest.mark.parametrize("field", ["status", "task_id"])
    @pytest.mark.parametrize("value", [None, "", 0, True, [], {}, ["SUCCESS"]])
    def test_a_mistyped_field(self, field: str, value: Any) -> None:
        assert field in refused(Decoder(), body(**{field: value}))

    @pytest.mark.parametrize("field", ["status", "task_id"])
    def test_a_missing_field(self, field: str) -> None:
        assert f"{field} is missing" in refused(Decoder(), body().replace(field.encode(), b"other"))

    def test_the_payload_is_never_quoted_whole(self) -> None:
        secret = "s3cret" * 1000
        assert len(refused(Decoder("yaml"), f"{{a: {secret}".encode())) < 300
        with pytest.raises(ResultDecodeError, match=r"\A[ -~]{,300}\Z"):
            Decoder().decode_for("\ud800" + "x" * 10_000, body(task_id=secret))

    @pytest.mark.parametrize("payload", [b"F\x1b[31m\n.", b"F\x00\x07\x7f\n."])
    def test_no_control_characters_reach_the_text(self, payload: bytes) -> None:
        """What a terminal would obey."""
        told = refused(Decoder("pickle"), payload)
        assert "float" in told
        assert told.isprintable()

    def test_the_result_of_another_task(self) -> None:
        with pytest.raises(ResultDecodeError, match=r"'a'.*'b'"):
            Decoder().decode_for("a", body(task_id="b"))

    @pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/data", "no/such", 5, [5]])
    def test_a_content_type_that_is_not_accepted(self, content_type: Any) -> None:
        payload = pickle.dumps(SystemExitOnLoad())
        assert "not accepted" in refused(Decoder(), payload, content_type=content_type)

    @given(st.binary(max_size=60))
    def test_garbage(self, payload: bytes) -> None:
        for decoder in (Decoder(), Decoder("yaml"), Decoder("msgpack")):
            refused(decoder, payload)
            refused(decoder, MARK + payload)


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"serializer": "nobody"}, ValueError, "'nobody'.*json.*yaml"),
            ({"serializer": "raw"}, ValueError, "'raw'.*json"),
            ({"accept": ["json", "no/such"]}, ValueError, "'no/such'.*json"),
            ({"accept": ["yaml"]}, ValueError, "'json' is not in accept.*'yaml'"),
            ({"accept": []}, ValueError, "nothing"),
            ({"accept": "json"}, TypeError, r"\['json'\]"),
            ({"accept": [5]}, TypeError, "int"),
            ({"serializer": None}, TypeError, "NoneType"),
        ],
    )
    def test_wrong_ones(self, arguments: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            Decoder(**arguments)

    def test_a_serializer_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What kombu itself does when PyYAML is missing: a decoder that raises, and no encoder.
        monkeypatch.delitem(registry._encoders, "yaml")
        with pytest.raises(ValueError, match=r"'yaml' is not installed.*allowed: json, msgpack, pickle$"):
            Decoder("yaml")

    def test_content_types_are_names_too(self) -> None:
        decoder = Decoder("application/x-yaml", accept=iter(["yaml", JSON]))
        assert decoder.decode(body(), content_type=JSON) == decoder.decode(body())
        assert repr(decoder) == "<Decoder application/x-yaml, accepts application/json, application/x-yaml>"


def escaped(text: str) -> bytes:
    """Every letter of `__type__` and `__value__` as an escape."""
    for name in ("__type__", "__value__"):
        text = text.replace(name, "".join(f"\\u{ord(letter):04x}" for letter in name))
    return text.encode()


keys = st.sampled_from(["__type__", "__value__", "a", "é", "\\u005f"]) | st.text(max_size=3)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
leaves |= st.sampled_from(["datetime", "decimal", "2026-01-02", "1.5"])
values = st.recursive(leaves, lambda some: st.lists(some) | st.dictionaries(keys, some, max_size=3), max_leaves=12)
typed = st.builds(
    lambda kind, value: {"__type__": kind, "__value__": value},
    st.sampled_from(["datetime", "decimal", "date", "bytes", "nobody"]),
    st.sampled_from(["2026-01-02", "1.5", 7]),
)


class TestFastPath:
    @given(value=values | typed, ascii_only=st.booleans(), hide=st.booleans())
    @example(value={"__type__": "decimal", "__value__": "1.5"}, ascii_only=True, hide=True)
    def test_gives_what_kombu_gives(self, value: Any, ascii_only: bool, hide: bool) -> None:
        text = json.dumps({"status": "S", "task_id": "t", "result": value}, ensure_ascii=ascii_only)
        payload = escaped(text) if hide else text.encode("utf-8", "surrogatepass")
        expected = None
        with contextlib.suppress(Exception):
            expected = registry.loads(payload, JSON, "utf-8", accept={JSON})
        if expected is None:
            refused(Decoder(), payload)
        else:
            assert repr(Decoder().decode(payload)) == repr(expected)

    @pytest.mark.parametrize("letter", "_type")
    def test_one_escaped_letter_is_enough_to_hide_a_type(self, letter: str) -> None:
        name = "__type__".replace(letter, f"\\u{ord(letter):04X}", 1)
        payload = b'{"status": "S", "task_id": "t", "result": {"%s": "decimal", "__value__": "1"}}' % name.encode()
        assert Decoder().decode(payload)["result"] == Decimal(1)

    def test_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("the slow path was taken")

        monkeypatch.setattr(meta_module, "loads", never)
        assert Decoder().decode(body(result="é\n"))["result"] == "é\n"
        assert Decoder("yaml", accept=["yaml", "json"]).decode(body(), content_type=JSON)["result"] == 1

    def test_somebody_elses_json_is_obeyed(self) -> None:
        decoder = Decoder()
        other = {"status": "OTHER", "task_id": "t"}
        kombus = registry._decoders[JSON]
        registry.register("json", None, lambda _: dict(other), content_type=JSON)
        try:
            assert decoder.decode(body()) == other
        finally:
            registry.register("json", None, kombus, content_type=JSON)
        assert decoder.decode(body())["status"] == "SUCCESS"


class TestTaskMeta:
    def test_everything(self) -> None:
        names = [name for name in TaskMeta.__dataclass_fields__ if name != "raw"]
        raw: dict[str, Any] = {name: f"<{name}>" for name in names} | {"stamped_headers": []}
        meta = TaskMeta.from_raw(raw)
        assert [getattr(meta, name) for name in names] == [raw[name] for name in names]
        assert meta.raw is raw
        assert "stamped_headers" not in repr(meta)
        assert pickle.loads(pickle.dumps(meta)) == meta
        with pytest.raises(AttributeError):
            meta.status = "SUCCESS"  # type: ignore[misc]

    def test_what_was_not_sent_is_none(self) -> None:
        meta = TaskMeta.from_raw({"status": "SUCCESS", "task_id": "t"})
        assert {getattr(meta, name) for name in meta.__slots__ if name not in ("status", "task_id", "raw")} == {None}

    @pytest.mark.parametrize("result", [None, ..., ValueError("mine")])
    def test_a_result_of_its_own(self, result: Any) -> None:
        assert TaskMeta.from_raw({"result": "sent"}, result).result is result

    @pytest.mark.parametrize("status", [*sorted(READY_STATES), "STARTED", "PROGRESS", None, []])
    def test_ready(self, status: Any) -> None:
        assert TaskMeta.from_raw({"status": status}).ready is (status in ("SUCCESS", "FAILURE", "REVOKED"))


def test_neither_celery_nor_redis_nor_a_connection_is_imported() -> None:
    imported = set()
    for module in (meta_module, serializers, bounded_reading, decompression):
        tree = ast.parse(inspect.getsource(module))
        imported |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))}
    assert {text for text in imported if "kombu" in text} == {
        "from kombu import compression as _compression",
        "from kombu import serialization as _serialization",
    }
    code = "import sys, bgresults.meta; sys.exit('celery' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
