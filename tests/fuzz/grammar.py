"""Results as nobody writes them: every field of every type, and none at all."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import pickle
import random
import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import yaml
from kombu.utils import json as kombu_json

from tests.fuzz import hostile

__all__ = ["sentence"]

# kombu has no types of its own.
_json_dumps: Any = kombu_json.dumps
_STATES = ("SUCCESS", "FAILURE", "REVOKED", "RETRY", "STARTED", "PROGRESS", "PENDING", "IGNORED", "mine")
_FIELDS = ("traceback", "children", "date_done", "group_id", "parent_id", "name", "args", "kwargs", "worker", "retries")
_TEXTS = (
    "",
    "x",
    "ä\u2026\U0001f600",
    "\ud800",
    "\udcff",
    "a\x00b",
    "\u202e",
    "x" * 300,
    "SUCCESS",
    "__type__",
    "<<",
    "1:1:1",
    "2026-01-02",
    "\\u005f",
    "\n",
)
_NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64 - 1,
    -(2**63),
    10**400,
    0.1,
    1e308,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
)
_TYPES = ("datetime", "date", "time", "decimal", "uuid", "base64", "bytes", "nobody", None, 5, ["x"])
_TYPED_VALUES = ("2026-01-02", "1.5", "sNaN", "1E+999999", "AA==", "!", {"hex": "0" * 32}, {"x": 1}, 7, None, "12:00")
# What JSON and YAML can spell and no encoder does.
_JSON_ODDITIES = (
    b"9" * 4301,
    b"-" + b"9" * 5000,
    b"1e99999",
    b"NaN",
    b"-Infinity",
    b'{"a":1,"a":2}',
    b'{"__type__":"decimal","__type__":"uuid","__value__":"1"}',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"a\x00b"',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" * 100_000,
    b"nul",
    b"1,",
    b"/*x*/1",
    b"'x'",
    b"\xef\xbb\xbf1",
)
_YAML_ODDITIES = (
    b"1" + b":1" * 500,
    b"!!python/object/apply:tests.fuzz.hostile.detonate [x]",
    b"!!python/name:tests.fuzz.hostile.Detonator",
    b"!!python/object/new:os.system [true]",
    b"!!binary '!'",
    b"!!timestamp 9999-99-99",
    b"!!int x",
    b"!!float x",
    b"!!set {a, b}",
    b"!!omap [a: 1, a: 2]",
    b"!!pairs [a: 1, b]",
    b"&a [*a, *a]",
    b"{? [a] : b}",
    b"{a: &x {b: 1}, <<: [*x, *x]}",
    b"{<<: 5}",
    b"*nobody",
    b"[" * 300,
    b"{a: 1, a: 2}",
    b"0o17",
    b"0x" + b"f" * 6000,
    b"!<tag:yaml.org,2002:merge> x",
    b"\xff",
    b"\x00",
    b"'\\",
    b"@",
    b"%",
    b"|",
    b"9" * 4301,
)
_MSGPACK_ODDITIES = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdd\x00\x10\x00\x00" * 50,
    b"\x91" * 600,
    b"\x91" * 2000 + b"\xc0",
    b"\xc1",
    b"\xd6\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xc7\x04\x05abcd",
    b"\xa4\xff\xfe\xfd\xfc",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\x81\x91\x01\x02",
    b"\x81\x01\x02",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
)
# Where an oddity goes: no serializer writes this by itself.
_HOLE = "hole-4f1c"


class _Grammar:
    def __init__(self, source: random.Random, serializer: str, task_id: str, others: tuple[str, ...]) -> None:
        self._source = source
        self._serializer = serializer
        self._task_id = task_id
        self._others = others
        self._odd = source.random() < 0.3
        self.holes = 0

    def mapping(self) -> Any:
        source = self._source
        if source.random() < 0.03:
            return self.value(2)
        found: dict[Any, Any] = {
            "status": self._mostly(source.choice(_STATES)),
            "task_id": self._mostly(self._id()),
        }
        if source.random() < 0.9:
            found["result"] = self._result(found["status"])
        for name in source.sample(_FIELDS, source.randrange(4)):
            found[name] = self.value(2)
        for name in ("status", "task_id", "result"):
            if source.random() < 0.02:
                found.pop(name, None)
        if source.random() < 0.05:
            found[self._key()] = self.value(1)
        return found

    def _mostly(self, right: str) -> Any:
        return right if self._source.random() < 0.95 else self.value(1)

    def _id(self) -> str:
        return self._task_id if self._source.random() < 0.95 else self._source.choice((*self._others, "", "\ud800"))

    def _result(self, status: Any) -> Any:
        failed = status in ("FAILURE", "RETRY", "REVOKED") if isinstance(status, str) else False
        return self._exception() if failed and self._source.random() < 0.9 else self.value(4)

    def _exception(self) -> Any:
        source = self._source
        module, name = source.choice(hostile.NAMES)
        message = [self.value(2) for _ in range(source.randrange(4))]
        if name == "UnpickleableExceptionWrapper":
            inner = source.choice(hostile.NAMES)
            message = [*inner, message, "repr"][: source.randrange(6)]
        found = {"exc_module": module, "exc_type": name, "exc_message": message}
        for key in list(found):
            if source.random() < 0.05:
                found[key] = self.value(2)
            if source.random() < 0.05:
                del found[key]
        return found

    def value(self, depth: int) -> Any:
        source = self._source
        kind = source.randrange(12 if depth > 0 else 8)
        if kind == 0:
            return source.choice((None, True, False))
        if kind in (1, 2):
            return source.choice(_NUMBERS)
        if kind in (3, 4):
            return source.choice(_TEXTS)
        if kind == 5:
            return {"__type__": source.choice(_TYPES), "__value__": source.choice(_TYPED_VALUES)}
        if kind == 6 and self._odd:
            self.holes += 1
            return _HOLE
        if kind == 7:
            return self._own(depth)
        if kind in (8, 9):
            return [self.value(depth - 1) for _ in range(source.randrange(4))]
        return {self._key(): self.value(depth - 1) for _ in range(source.randrange(4))}

    def _own(self, depth: int) -> Any:
        """What only this serializer has."""
        choose = self._source.choice
        if self._serializer == "pickle":
            return hostile.pickled(choose, choose(_TEXTS) if depth else self._task_id)
        values: tuple[Any, ...] = (b"\xff", datetime.datetime(2026, 1, 2), "x")
        if self._serializer == "json":
            values = (decimal.Decimal("1.5"), uuid.UUID(int=7), *values)
        return choose(values[:1] if self._serializer == "msgpack" else values)

    def _key(self) -> Any:
        keys: tuple[Any, ...] = ("a", "status", "task_id", "__type__", "exc_type", "\ud800")
        return self._source.choice(keys if self._serializer in ("json", "msgpack") else (*keys, 7, None, 1.5, (1, 2)))


def sentence(source: random.Random, serializer: str, task_id: str, others: tuple[str, ...]) -> bytes:
    """One body.

    Args:
        source: of all that is drawn.
        serializer: kombu's name of it.
        task_id: whose body it is, unless it is not.
        others: ids of other tasks.
    """
    grammar = _Grammar(source, serializer, task_id, others)
    value = grammar.mapping()
    write, mark, oddities = _WRITERS[serializer]
    try:
        body = write(value)
    except (TypeError, ValueError, OverflowError, yaml.YAMLError, pickle.PicklingError):
        # This serializer cannot say it. Say something else that is true of this task.
        body = write({"status": "SUCCESS", "task_id": task_id, "result": _HOLE})
    for _ in range(grammar.holes + 1):
        if mark not in body:
            break
        body = body.replace(mark, source.choice(oddities), 1)
    return body


def _json(value: Any) -> bytes:
    text: str = _json_dumps(value)
    return text.encode()


def _yaml(value: Any) -> bytes:
    text: str = yaml.safe_dump(value)
    return text.encode("utf-8", "surrogatepass")


def _msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogatepass", datetime=False)
    return packed


def _pickle(value: Any) -> bytes:
    return pickle.dumps(value, protocol=4)


_Writer = tuple[Callable[[Any], bytes], bytes, tuple[bytes, ...]]
_WRITERS: dict[str, _Writer] = {
    "json": (_json, json.dumps(_HOLE).encode(), _JSON_ODDITIES),
    "yaml": (_yaml, _HOLE.encode(), _YAML_ODDITIES),
    "msgpack": (_msgpack, _msgpack(_HOLE), _MSGPACK_ODDITIES),
    # Of a pickle nothing can be cut out: it counts its bytes.
    "pickle": (_pickle, b"\x00no such mark", (b"",)),
}
