"""What a future raises for what a worker wrote down: real Celery failures first, hostile descriptions after."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import importlib.util
import pickle
import subprocess
import sys
import traceback
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.backends.cache import CacheBackend
from celery.exceptions import TaskRevokedError as CelerysRevoked
from celery.utils.serialization import UnpickleableExceptionWrapper
from hypothesis import given
from hypothesis import strategies as st

from bgresults.errors import TaskFailedError, TaskRevokedError, WatchExpiredError
from bgresults.meta import Decoder
from bgresults.task_exceptions import RemoteTraceback, exception_from

HERE = __name__
CELERYS = UnpickleableExceptionWrapper.__module__


class Plain(Exception):
    class Inner(Exception):
        pass


class TwoArguments(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def made(name: str, base: type = Exception, **methods: Any) -> Any:
    return type(name, (base,), {"__module__": HERE, "__qualname__": name, **methods})


def raising(error: type[BaseException]) -> Any:
    def method(*_: object) -> Any:
        raise error

    return method


Cut = made("Cut", BaseException)
CopiesToItself = made("CopiesToItself", __copy__=lambda self: self)
CopiesToOther = made("CopiesToOther", __copy__=lambda _: ValueError("other"))
CopyExits = made("CopyExits", __copy__=raising(SystemExit))
Empty = made("Empty", __len__=lambda _: 0)
Exits = made("Exits", __init__=raising(SystemExit))
Falsy = made("Falsy", __bool__=lambda _: False)
Frozen = made("Frozen", __setattr__=raising(AttributeError))
LooksLikeStopIteration = made("LooksLikeStopIteration", __class__=StopIteration)
SomethingElse = made("SomethingElse", __new__=lambda *_: "not an exception")
Hostile = made("Hostile", dict, get=raising(SystemExit))
Stops = made("Stops", StopIteration)
Untestable = made("Untestable", __bool__=raising(KeyboardInterrupt))


def failure(result: Any, **fields: Any) -> Exception:
    return exception_from({"status": "FAILURE", "task_id": "t", "result": result, **fields})


def envelope(cls: Any, *args: Any, module: Any = HERE) -> dict[str, Any]:
    return {"exc_type": getattr(cls, "__qualname__", cls), "exc_message": list(args), "exc_module": module}


def stored(serializer: str, exc: BaseException, state: str = "FAILURE") -> dict[str, Any]:
    """What Celery's own backend stores for an exception, read by ours."""
    app = Celery(set_as_current=False)
    app.conf.accept_content = [serializer]
    backend = CacheBackend(app, backend="memory://", serializer=serializer)
    task_id = str(uuid.uuid4())
    backend.store_result(task_id, exc, state, traceback="Traceback: the worker's")
    return Decoder(serializer).decode_for(task_id, backend.get(backend.get_key_for_task(task_id)))


def is_stand_in(exc: Exception, cls: Any, *args: Any) -> bool:
    """Whether it is a TaskFailedError under the name of the class, survives pickle and copy, and can be printed."""
    assert isinstance(exc, TaskFailedError)
    for twin in (exc, copy.copy(exc), copy.deepcopy(exc), pickle.loads(pickle.dumps(exc))):
        assert twin is exc or type(twin) is type(exc)
        assert (twin.exc_type, twin.exc_module, twin.args) == (cls.__qualname__, cls.__module__, args)
    assert traceback.format_exception_only(type(exc), exc)[-1].startswith(f"{cls.__module__}.{cls.__qualname__}")
    return bool(type(exc).__name__ == cls.__name__)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
class TestWhatCeleryStores:
    @pytest.mark.parametrize("exc", [Plain("a", 1), Plain.Inner(), ValueError("x"), OSError(2, "no"), TimeoutError()])
    def test_is_raised_again(self, serializer: str, exc: Exception) -> None:
        raw = stored(serializer, exc)
        first, second = exception_from(raw), exception_from(raw)
        assert (type(first), first.args) == (type(exc), exc.args)
        assert len({id(first), id(second), id(raw["result"])}) == 3
        assert str(first.__cause__) == '\n"""\nTraceback: the worker\'s"""'

    def test_an_exception_that_cannot_be_pickled(self, serializer: str) -> None:
        exc = exception_from(stored(serializer, UnpickleableExceptionWrapper.from_exception(Plain("a", 1))))
        assert (type(exc), exc.args) == (Plain, ("a", 1))
        unknown = exception_from(stored(serializer, UnpickleableExceptionWrapper(HERE, "Unknown", ("a",), "")))
        assert is_stand_in(unknown, type("Unknown", (), {}), "a")
        nested = UnpickleableExceptionWrapper(CELERYS, "UnpickleableExceptionWrapper", "aaa")
        assert is_stand_in(exception_from(stored(serializer, nested)), UnpickleableExceptionWrapper, *"aaa")

    def test_a_revoked_task(self, serializer: str) -> None:
        exc = exception_from(stored(serializer, CelerysRevoked("terminated"), "REVOKED"))
        assert isinstance(exc, TaskRevokedError)
        assert isinstance(exc, CelerysRevoked)
        assert exc.args == ("terminated",)
        assert isinstance(exc.__cause__, RemoteTraceback)


class TestClassesThatAreTaken:
    def test_a_message_that_is_no_list_is_the_only_argument(self) -> None:
        assert failure({"exc_type": "Plain", "exc_module": HERE, "exc_message": "text"}).args == ("text",)
        assert failure({"exc_type": "Plain", "exc_module": HERE}).args == ("",)

    def test_a_frozen_class_gets_its_cause(self) -> None:
        exc = failure(envelope(Frozen, "a"), traceback="the worker's")
        assert type(exc) is Frozen
        assert isinstance(exc.__cause__, RemoteTraceback)

    @pytest.mark.parametrize("text", [None, "", 5, ["a"]])
    def test_no_traceback_no_cause(self, text: Any) -> None:
        assert failure(envelope(Plain), traceback=text).__cause__ is None

    def test_the_remote_traceback_is_printed_and_pickled(self) -> None:
        exc = failure(envelope(Plain, "a"), traceback="line of the worker\n")
        assert '"""\nline of the worker\n"""' in "".join(traceback.format_exception(exc))
        assert str(pickle.loads(pickle.dumps(exc.__cause__))) == str(exc.__cause__)

    def test_a_failure_with_celerys_revoked_error_is_what_it_is(self) -> None:
        assert type(failure(envelope(CelerysRevoked, module="celery.exceptions"))) is CelerysRevoked


NAMES = ["system", "Popen", "eval", "dict", "path.join", "SystemExit", "KeyboardInterrupt", "StopIteration", "Error"]
NAMES += ["WatchExpiredError", "Plain.Outer", "Plain.__class__", "f.<locals>.Error", "UnpickleableExceptionWrapper"]
NAMELESS: list[tuple[Any, Any]] = [("boom", ("boom",)), (["a", 1], (["a", 1],)), (0, (0,)), ({}, ({},))]
NAMELESS += [({"exc_type": 5}, ({"exc_type": 5},)), ({"exc_message": ["a", "b"]}, ("a", "b"))]
NAMELESS += [(None, ("the task failed and the worker sent no description",))]
NAMELESS += [({"exc_type": ["Plain"], "exc_module": HERE, "exc_message": "a"}, ("a",))]
NAMELESS += [(envelope("UnpickleableExceptionWrapper", 1, 2, 3, module=CELERYS), (3,))]
BAD = [Exits, SomethingElse, Falsy, Empty, Untestable, LooksLikeStopIteration, Stops, Cut]


class TestClassesThatAreNot:
    @pytest.mark.parametrize("cls", [*BAD, TwoArguments, concurrent.futures.CancelledError, asyncio.CancelledError])
    def test_a_stand_in_has_their_name(self, cls: Any) -> None:
        exc = failure(envelope(cls, "a", module=cls.__module__), traceback="the worker's")
        assert is_stand_in(exc, cls, "a")
        assert isinstance(exc.__cause__, RemoteTraceback)

    @pytest.mark.parametrize("module", ["builtins", "os", "subprocess", "bgresults.errors", HERE, "no.such.module"])
    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_is_called(self, module: str, name: str, tmp_path: Path) -> None:
        exc = failure(envelope(name, f"touch {tmp_path}/witness", module=module))
        assert isinstance(exc, TaskFailedError)
        assert (exc.exc_module, exc.exc_type, type(exc).__qualname__) == (module, name, name)
        assert not isinstance(exc, WatchExpiredError)
        assert not list(tmp_path.iterdir())

    def test_asyncio_ends(self) -> None:
        async def wait() -> None:
            future: concurrent.futures.Future[None] = concurrent.futures.Future()
            wrapped = asyncio.wrap_future(future)
            future.set_exception(failure(envelope("StopIteration", 1, module="builtins")))
            await asyncio.wait_for(wrapped, 5)

        with pytest.raises(TaskFailedError):
            asyncio.run(wait())

    def test_a_flood_of_names_is_cached_and_bounded(self) -> None:
        cached = failure(envelope("Flood"))
        assert type(failure(envelope("Flood"))) is type(cached)
        for number in range(1000):
            failure(envelope(f"Flood{number}"))
        assert type(failure(envelope("Flood"))) is not type(cached)

    @pytest.mark.parametrize("name", ["", ".", "a.", "\0", "\ud800", "x" * 9999, "a b", "<x>", "Line\nbreak", "ä"])
    @pytest.mark.parametrize("module", [HERE, None, "\0\ud800", 5, [], "x" * 9999], ids=lambda it: repr(it)[:9])
    def test_any_name(self, name: str, module: Any) -> None:
        exc = failure(envelope(name, "a", module=module))
        assert isinstance(exc, TaskFailedError)
        assert exc.exc_type == name
        assert exc.exc_module == (module if isinstance(module, str) else None)
        printed = "".join(traceback.format_exception_only(type(exc), exc))
        assert printed.strip().isprintable()
        assert len(printed) < 500
        assert pickle.loads(pickle.dumps(exc)).args == ("a",)

    @pytest.mark.parametrize(("result", "args"), NAMELESS)
    def test_no_name(self, result: Any, args: Any) -> None:
        exc = failure(result)
        assert (type(exc), exc.args) == (TaskFailedError, args)


class TestInstancesOutOfAPickle:
    @pytest.mark.parametrize("cls", [CopiesToItself, CopiesToOther, CopyExits, Falsy, Untestable, Stops, Cut])
    def test_a_stand_in_has_their_name(self, cls: Any) -> None:
        assert is_stand_in(failure(cls("a")), cls, "a")

    def test_a_constructor_that_does_not_take_them(self) -> None:
        assert is_stand_in(failure(TwoArguments("a", "b")), TwoArguments, "a and b")


class TestRevoked:
    @pytest.mark.parametrize("result", [None, "text", [], 5, {}, {"exc_message": 5}, SystemExit("a"), Falsy()])
    def test_whatever_was_sent(self, result: Any) -> None:
        exc = exception_from({"status": "REVOKED", "result": result})
        assert isinstance(exc, TaskRevokedError)
        for twin in (copy.copy(exc), pickle.loads(pickle.dumps(exc))):
            assert (type(twin), twin.args) == (type(exc), exc.args)
        assert type(exc) is type(exception_from({"status": "REVOKED"})), "a class per exception"

    @pytest.mark.parametrize("theirs", [None, 5, int, Exits, SomethingElse, Falsy, Untestable, Stops, Cut])
    def test_without_celery_or_with_a_strange_one(self, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "celery.exceptions", module := ModuleType("celery.exceptions"))
        vars(module)["TaskRevokedError"] = theirs
        exc = exception_from({"status": "REVOKED", "result": envelope(CelerysRevoked, "expired")})
        assert type(exc) is TaskRevokedError
        assert exc.args == ("expired",)
        monkeypatch.delitem(sys.modules, "celery.exceptions")
        assert type(exception_from({"status": "REVOKED"})) is TaskRevokedError


# A module that must not be asked for anything: apipkg and others import on access, even of `__dict__`.
Trap = made("Trap", ModuleType, __getattribute__=raising(SystemExit), __dict__=property(raising(SystemExit)))


class TestNothingIsLoaded:
    def test_a_lazy_module_stays_lazy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        witness = tmp_path / "lazy_for_test.py"
        witness.write_text("raise SystemExit('loaded')\nclass Error(Exception): pass\n")
        spec = importlib.util.spec_from_file_location("lazy_for_test", witness)
        assert spec is not None
        assert spec.loader is not None
        loader = spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "lazy_for_test", module)
        loader.exec_module(module)
        assert type(failure(envelope("Error", module="lazy_for_test"))).__name__ == "Error"
        assert type(module) is not ModuleType, "it was loaded"

    def test_what_poses_as_a_module_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for trap in (Trap("trap"), ModuleType.__new__(ModuleType), made("Trap", object, get=5)(), None):
            monkeypatch.setitem(sys.modules, "trap_for_test", trap)
            exc = failure(envelope("Error", "a", module="trap_for_test"))
            assert (type(exc).__name__, exc.args) == ("Error", ("a",))
        monkeypatch.setitem(sys.modules, "trap_for_test", trap := Trap("trap"))
        vars(ModuleType)["__dict__"].__get__(trap)["Error"] = Plain
        assert type(failure(envelope("Error", module="trap_for_test"))) is Plain

    def test_a_proxy_is_not_asked_for_its_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(globals(), "proxy", Trap("proxy"))
        assert is_stand_in(failure(envelope("proxy", "a")), type("proxy", (), {}), "a")

    def test_nothing_is_imported(self) -> None:
        # In a process of its own: this one has imported it all.
        code = """if True:
            import sys, concurrent.futures, bgresults.task_exceptions
            before = set(sys.modules)
            for path in "concurrent.futures ProcessPoolExecutor", "celery.exceptions Retry", "no.such Error":
                result = dict(zip(("exc_module", "exc_type"), path.split()))
                for status in "FAILURE", "REVOKED":
                    bgresults.task_exceptions.exception_from({"status": status, "result": result})
            sys.exit("celery" in sys.modules or str(set(sys.modules) - before).replace("set()", "") or 0)"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("raw", [{}, Hostile(), {"result": Hostile(a=1)}, {"status": [], "result": {"exc_type": 5}}])
def test_it_never_raises(raw: Any) -> None:
    assert isinstance(exception_from(raw), TaskFailedError)


anything = st.recursive(st.integers() | st.text(), lambda some: st.lists(some) | st.dictionaries(st.text(), some))
names = st.sampled_from([HERE, "builtins", "os", "Plain", "Plain.Inner", "ValueError", "system", "Cut"]) | anything
described = st.fixed_dictionaries({}, optional={"exc_type": names, "exc_module": names, "exc_message": anything})


@given(result=described | anything, status=st.sampled_from(["FAILURE", "REVOKED"]), text=anything)
def test_anything(result: Any, status: str, text: Any) -> None:
    exc = exception_from({"status": status, "result": result, "traceback": text})
    assert isinstance(exc, Exception)
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_exception(exc)
    with pytest.raises(type(exc)):
        future.result(0)
