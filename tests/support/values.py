"""Values that tasks return, made in the worker: not all of them could travel as an argument."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MADE"]

MADE: Mapping[str, Callable[[], Any]] = {
    "typed": lambda: {
        "datetime": datetime.datetime(2024, 2, 29, 12, 30, 15, 250, tzinfo=datetime.timezone.utc),
        "naive": datetime.datetime(2024, 2, 29, 12, 30, 15),
        "date": datetime.date(2024, 2, 29),
        "time": datetime.time(12, 30, 15),
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    },
    "datetime": lambda: datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
    "tuple": lambda: (1, ("two", ())),
    "int keys": lambda: {1: "one", 2: {3: None}},
    "bytes": lambda: {"text": b"abc", "no text": b"\x00\xff", "none": b""},
    "set": lambda: {1},
    "object": object,
    "a look-alike": lambda: {"exc_type": "ValueError", "exc_message": ["not raised"], "exc_module": "builtins"},
    "an exception": lambda: ValueError("returned"),
    "NaN and infinities": lambda: [float("nan"), float("inf"), float("-inf"), -0.0],
    "numbers": lambda: [0, -1, 2**31, 2**53 + 1, 2**63 - 1, 0.1, 1e300, True],
    "empty": lambda: [[], {}, "", [[]], {"": {}}],
    "unicode": lambda: {"ü": "é\u0000\u2028 \U0001f600", "\\u005f_type__": '"\\'},
}
