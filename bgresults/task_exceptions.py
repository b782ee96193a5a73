"""Rebuilding what a task raised, from what its worker wrote down, without trusting it.

A failed task names a class. It is taken if it can be found without running anybody's code and is an ordinary exception
that a future can carry; otherwise :class:`~bgresults.errors.TaskFailedError` stands in, under the name that was sent.
Nothing is imported, and nothing but the constructor of an exception class is called.

Celery is looked up in ``sys.modules`` only: who has not imported it does not catch its exceptions either.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from concurrent.futures import CancelledError
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from bgresults.errors import TaskFailedError, TaskRevokedError, WatcherError

__all__ = ["RemoteTraceback", "exception_from"]

# A future that ends with one of these lies, or hangs: asyncio refuses a StopIteration and waits for ever, a
# CancelledError looks like the caller's own cancel(), and a WatcherError says that the waiting went wrong.
_MISLEADING: Final = (StopIteration, CancelledError, WatcherError)

# What Celery sends in place of an exception that cannot be pickled: module, class, args and repr of the real one.
_WRAPPER: Final = ("celery.utils.serialization", "UnpickleableExceptionWrapper")

_LONGEST_NAME: Final = 200

# The descriptors of the built-in types themselves. What a class puts in front of them (a lazy module's
# `__getattribute__`, a `__dict__` property, a frozen `__setattr__`) is never asked.
_module_dict: Final[Any] = vars(ModuleType)["__dict__"]
_class_dict: Final[Any] = vars(type)["__dict__"]
_args: Final[Any] = vars(BaseException)["args"]
_cause: Final[Any] = vars(BaseException)["__cause__"]


class RemoteTraceback(Exception):
    """The traceback in the worker, as text; the ``__cause__`` of what a future raises."""

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.tb = traceback

    def __str__(self) -> str:
        return f'\n"""\n{self.tb}"""'


def exception_from(raw: Mapping[str, Any]) -> Exception:
    """What the future of a failed or revoked task raises.

    Every call makes a new instance, so that no two futures share one. May be called from any thread.

    Args:
        raw: a decoded result whose state is FAILURE or REVOKED.

    Returns:
        The task's own exception; a :class:`TaskFailedError` where that one cannot, or must not, be rebuilt; or a
        :class:`TaskRevokedError`. The worker's traceback, if it was sent, is its ``__cause__``.

    Raises:
        Nothing, whatever the mapping holds and whatever the constructor of the task's exception does.
    """
    try:
        revoked = raw.get("status") == "REVOKED"
        result = raw.get("result")
        exc = _revoked(result) if revoked else _failed(result)
        traceback = raw.get("traceback")
        if isinstance(traceback, str) and traceback:
            _cause.__set__(exc, RemoteTraceback(traceback))
        return exc
    except BaseException:  # noqa: BLE001 - values out of a pickle run the sender's code at any touch
        return TaskFailedError("the task failed, and the worker's description of it cannot be read")


def _failed(result: Any) -> Exception:
    if issubclass(type(result), BaseException):
        return _from_instance(result)
    if isinstance(result, Mapping):
        return _from_envelope(dict(result))
    if result is None:
        return TaskFailedError("the task failed and the worker sent no description")
    return TaskFailedError(result)


def _revoked(result: Any) -> Exception:
    if issubclass(type(result), BaseException):
        args = tuple(_args.__get__(result))
    elif isinstance(result, Mapping):
        args = _arguments(result.get("exc_message", "revoked"))
    else:
        args = ("the task was revoked" if result is None else result,)
    return _revoked_error(args)


def _from_envelope(envelope: dict[str, Any]) -> Exception:
    module, name = _text(envelope.get("exc_module")), _text(envelope.get("exc_type"))
    if name is None and "exc_message" not in envelope:
        return TaskFailedError(envelope)
    message = envelope.get("exc_message", "")
    if (module, name) == _WRAPPER and isinstance(message, (list, tuple)) and len(message) >= 3:
        return _from_wrapper(*message[:3])
    return _rebuilt(module, name, _arguments(message))


def _from_wrapper(module: Any, name: Any, args: Any) -> Exception:
    return _rebuilt(_text(module), _text(name), _arguments(args))


def _from_instance(sent: BaseException) -> Exception:
    """From what an unpickler made. One mapping may serve several futures: each gets a copy."""
    cls = type(sent)
    for base in cls.__mro__:
        if (base.__module__, base.__name__) == _WRAPPER:
            return _from_wrapper(sent.exc_module, sent.exc_cls_name, sent.exc_args)  # type: ignore[attr-defined]
    if _is_exception_class(cls):
        try:
            exc = copy.copy(sent)
            if exc is not sent and type(exc) is cls and isinstance(exc, Exception) and _can_be_carried(exc):
                return exc
        except BaseException:  # noqa: BLE001 - a copy runs the exception's own code
            pass
    return _stand_in(cls.__module__, cls.__qualname__, tuple(_args.__get__(sent)))


def _rebuilt(module: str | None, name: str | None, args: tuple[Any, ...]) -> Exception:
    cls = _find_class(module, name)
    if cls is not None:
        try:
            exc: Any = cls(*args)
            # A constructor may return anything. A subclass is fine: OSError(2, "…") is a FileNotFoundError.
            if type.__subclasscheck__(cls, type(exc)) and _can_be_carried(exc):
                return exc  # type: ignore[no-any-return]
        except BaseException:  # noqa: BLE001 - a constructor may raise anything, SystemExit too
            pass
    return _stand_in(module, name, args)


def _find_class(module: str | None, name: str | None) -> type[Exception] | None:
    """The exception class of that qualified name, if it is loaded already. Runs nobody's code."""
    if module is None or name is None or (module, name) == _WRAPPER:
        return None
    try:
        # Python 3.10 has modules without one: those whose `__init__` was never called.
        namespace = _module_dict.__get__(sys.modules.get(module)) or {}
    except TypeError:
        # Missing, or one of those objects that pose as a module: they may do anything on access.
        return None
    found: Any = None
    for part in name.split("."):
        found = namespace.get(part)
        # The real type: isinstance() would ask a proxy object for its `__class__`, and so load what it stands for.
        if not issubclass(type(found), type):
            return None
        namespace = _class_dict.__get__(found)
    return found if _is_exception_class(found) else None


def _is_exception_class(cls: type) -> bool:
    """Whether it is an exception that may leave a future: no SystemExit, no asyncio.CancelledError."""
    return type.__subclasscheck__(Exception, cls) and not any(type.__subclasscheck__(bad, cls) for bad in _MISLEADING)


def _can_be_carried(exc: Exception) -> bool:
    """Whether a future can hold it. May raise what the exception's own code raises.

    The standard future tests the truth of its exception: a false one would be returned as a success with None.
    """
    return not isinstance(exc, _MISLEADING) and bool(exc)


def _stand_in(module: str | None, name: str | None, args: tuple[Any, ...]) -> TaskFailedError:
    """A TaskFailedError under the name that was sent."""
    cls = TaskFailedError if name is None else _stand_in_class(_clean(module), _clean(name))
    exc = cls(*args)
    # As they were sent; the class has them cleaned and cut.
    exc.exc_type, exc.exc_module = name or "", module
    return exc


class _StandIn(TaskFailedError):
    """Base of the classes made on the spot, which pickle and copy could not find by their names."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _stand_in, (self.exc_module, self.exc_type, self.args), self.__dict__.copy()


# Bounded, since names come from outside; a class that fell out lives as long as its instances.
@lru_cache(maxsize=256)
def _stand_in_class(module: str | None, name: str | None) -> type[_StandIn]:
    qualified = name or TaskFailedError.__name__
    return type(
        qualified.rpartition(".")[2] or qualified,
        (_StandIn,),
        {"__qualname__": qualified, "__module__": module or TaskFailedError.__module__, "__doc__": None},
    )


class _RevokedLikeCelery(TaskRevokedError):
    """Base of the class that is Celery's TaskRevokedError as well, which pickle could not find by its name."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _revoked_error, (self.args,), self.__dict__.copy()


def _revoked_error(args: tuple[Any, ...]) -> TaskRevokedError:
    celerys: type | None = _find_class("celery.exceptions", "TaskRevokedError")
    if celerys is not None:
        try:
            exc: Any = _revoked_class(celerys)(*args)
            if isinstance(exc, TaskRevokedError) and _can_be_carried(exc):
                return exc
        except BaseException:  # noqa: BLE001 - something else that calls itself celery.exceptions
            pass
    return TaskRevokedError(*args)


@lru_cache(maxsize=4)
def _revoked_class(celerys: type) -> type[TaskRevokedError]:
    ours = TaskRevokedError
    namespace = {"__module__": ours.__module__, "__qualname__": ours.__qualname__, "__doc__": ours.__doc__}
    return type(ours.__name__, (_RevokedLikeCelery, celerys), namespace)


def _arguments(message: Any) -> tuple[Any, ...]:
    """As Celery reads them: a list is all the arguments, anything else the only one."""
    return tuple(message) if isinstance(message, (list, tuple)) else (message,)


def _text(value: Any) -> str | None:
    """A plain str, or None: a subclass out of a pickle may compare as it likes."""
    return str.__str__(value) if issubclass(type(value), str) else None


def _clean(name: str | None) -> str | None:
    """A name that type() takes and a log line survives: no NUL, no surrogate, no line break, of bounded length."""
    if name is None:
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_NAME])
