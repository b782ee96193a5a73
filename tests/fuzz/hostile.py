"""What hostile bodies name: things that must not be called, and exceptions that misbehave."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["NAMES", "detonations", "pickled"]

_MODULE = __name__
#: What was called that is no exception class. JSON, YAML and msgpack must never get there.
detonations: list[str] = []


def detonate(*args: Any) -> None:
    """A function that a message may name as its exception class."""
    detonations.append(f"detonate{args!r:.40}")


class Detonator:
    """A class that is no exception."""

    def __init__(self, *args: Any) -> None:
        detonations.append(f"Detonator{args!r:.40}")


class Interrupt(KeyboardInterrupt):
    """No Exception."""

    def __init__(self, *args: Any) -> None:
        detonations.append("Interrupt")
        super().__init__(*args)


class RaisesInInit(Exception):
    def __init__(self, *args: Any) -> None:
        raise SystemExit(*args)


class Recurses(Exception):
    def __init__(self, *args: Any) -> None:
        self.__init__(*args)  # type: ignore[misc]


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class False_(Exception):
    def __bool__(self) -> bool:
        return False


class RaisesWhenAsked(Exception):
    """Not even its truth can be asked for."""

    def __bool__(self) -> bool:
        raise KeyboardInterrupt

    def __eq__(self, other: object) -> bool:
        raise KeyboardInterrupt

    __hash__ = None  # type: ignore[assignment]


class MakesSomethingElse(Exception):
    def __new__(cls, *args: Any) -> Any:
        return 5


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class NoCopy(Exception):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise SystemExit(1)


class Outer:
    class Inner(Exception):
        """Found by its qualified name."""


class OddMapping(dict[str, Any]):
    """Iterating over it fails, in the middle of a copy."""

    def keys(self) -> Any:
        raise KeyboardInterrupt

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def fail_to_load(kind: str) -> Any:
    """What an unpickler calls, and never returns from."""
    raise {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "memory": MemoryError(),
        "stop": StopIteration(),
        "generator": GeneratorExit(),
        "odd": Unprintable("x"),
    }[kind]


_KINDS = ("exit", "interrupt", "memory", "stop", "generator", "odd")

#: (module, qualified name) of what a failed task may claim to have raised.
NAMES: tuple[tuple[Any, Any], ...] = (
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "__import__"),
    ("builtins", "SystemExit"),
    ("builtins", "KeyboardInterrupt"),
    ("builtins", "GeneratorExit"),
    ("builtins", "StopIteration"),
    ("builtins", "BaseException"),
    ("builtins", "object"),
    ("builtins", "ExceptionGroup"),
    ("builtins", "UnicodeDecodeError"),
    ("builtins", "Exception"),
    ("builtins", "OSError"),
    ("builtins", "KeyError.__class__"),
    ("builtins", "KeyError.__init__"),
    ("builtins", ""),
    ("builtins", "."),
    ("builtins", "a\x00b"),
    ("builtins", "\ud800"),
    ("asyncio", "CancelledError"),
    ("concurrent.futures", "ProcessPoolExecutor"),
    ("concurrent.futures._base", "CancelledError"),
    ("bgresults.errors", "WatcherClosedError"),
    ("bgresults.errors", "TaskFailedError"),
    ("celery.exceptions", "Retry"),
    ("celery.exceptions", "TaskRevokedError"),
    ("celery.utils.serialization", "UnpickleableExceptionWrapper"),
    ("json.decoder", "JSONDecodeError"),
    ("no.such.module", "Error"),
    ("antigravity", "Error"),
    ("sys", "exit"),
    ("", ""),
    (None, "Error"),
    ("builtins", None),
    (5, ["x"]),
    *(
        (_MODULE, name)
        for name in (
            "detonate",
            "Detonator",
            "Interrupt",
            "RaisesInInit",
            "Recurses",
            "Unprintable",
            "False_",
            "RaisesWhenAsked",
            "MakesSomethingElse",
            "Frozen",
            "NoCopy",
            "Outer.Inner",
            "Outer",
            "Outer.Inner.__mro__",
            "NAMES",
        )
    ),
)


def pickled(choose: Any, value: Any) -> Any:
    """Something that only a pickle can hold; ``choose`` picks one of a sequence."""
    return choose(
        (
            Call(fail_to_load, choose(_KINDS)),
            Call(sys.exit, 3),
            # It hands the interpreter's lock over. Not sleep(): of its 0 a mutation may make two minutes.
            Call(os.sched_yield),
            OddMapping(a=value),
            Unprintable(value),
            False_(value),
            RaisesWhenAsked(value),
            Frozen(value),
            Outer.Inner(value),
            Outer.Inner,
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            StopIteration(value),
            BaseException(value),
            {value} if isinstance(value, (str, int, float)) else (value,),
            bytearray(b"x"),
        )
    )
