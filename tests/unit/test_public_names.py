"""The names that users write, and how they call them. What breaks a test here breaks a program of theirs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from concurrent.futures import Future
from typing import Any

import pytest

import bgresults
from bgresults import ResultFuture, ResultWatcher, TaskMeta
from bgresults.consumers import BaseResultConsumer
from bgresults.consumers.redis import ResultConsumer

WATCHER_ERRORS = {
    "WatcherClosedError",
    "ForkedError",
    "BackendUnavailableError",
    "WatchExpiredError",
    "TooManyPendingError",
    "NotWatchableError",
    "ReplyLostError",
    "ResultDecodeError",
    "WouldDeadlockError",
}
TASK_ERRORS = {"TaskFailedError", "TaskRevokedError"}
OTHERS = {
    "AMQPOptions",
    "ResultWatcher",
    "ResultFuture",
    "TaskMeta",
    "WatcherStats",
    "RetryPolicy",
    "RedisOptions",
    "WatcherHealth",
}


def test_all() -> None:
    names = OTHERS | WATCHER_ERRORS | TASK_ERRORS | {"BgResultsError", "WatcherError", "TaskError"}
    assert set(bgresults.__all__) >= names
    assert sorted(set(bgresults.__all__)) == sorted(bgresults.__all__)
    assert all(hasattr(bgresults, name) for name in bgresults.__all__)


def test_the_families_of_errors() -> None:
    assert issubclass(bgresults.BgResultsError, Exception)
    for family, names in ((bgresults.WatcherError, WATCHER_ERRORS), (bgresults.TaskError, TASK_ERRORS)):
        assert family.__base__ is bgresults.BgResultsError
        for name in names:
            assert issubclass(getattr(bgresults, name), family), name
    assert issubclass(bgresults.WatchExpiredError, TimeoutError)
    others = [name for name in WATCHER_ERRORS if name != "WatchExpiredError"]
    assert not any(issubclass(getattr(bgresults, name), TimeoutError) for name in others)


@pytest.mark.parametrize("name", sorted(bgresults.__all__))
def test_documented(name: str) -> None:
    public = getattr(bgresults, name)
    assert inspect.getdoc(public)
    undocumented = [
        member
        for member, value in vars(public).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))
        and not inspect.getdoc(getattr(public, member))
    ]
    assert undocumented == []


NO_DEFAULT = inspect.Parameter.empty
#: Some default, whichever.
ANY: Any = object()


def parameters(function: Any) -> dict[str, tuple[str, Any]]:
    kinds: dict[Any, str] = {
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
        inspect.Parameter.KEYWORD_ONLY: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
        inspect.Parameter.VAR_POSITIONAL: "*args",
    }
    found = inspect.signature(function).parameters.values()
    return {
        parameter.name: (kinds[parameter.kind], parameter.default) for parameter in found if parameter.name != "self"
    }


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            ResultWatcher.__init__,
            {
                "url": ("", NO_DEFAULT),
                "key_prefix": ("*", ""),
                "serializer": ("*", "json"),
                "accept": ("*", None),
                "max_body_size": ("*", 64 * 1024 * 1024),
                "default_lifetime": ("*", 86400.0),
                "max_pending": ("*", 100_000),
                "on_disconnect": ("*", "wait"),
                "retry": ("*", ANY),
                "connect_timeout": ("*", 2.0),
                "redis": ("*", ANY),
                "name": ("*", None),
            },
        ),
        (ResultWatcher.watch, {"task_id": ("", NO_DEFAULT), "lifetime": ("*", ANY), "on_update": ("*", None)}),
        (ResultWatcher.watch_many, {"task_ids": ("", NO_DEFAULT), "lifetime": ("*", ANY), "on_update": ("*", None)}),
        (ResultWatcher.updates, {"task_id": ("", NO_DEFAULT), "timeout": ("*", None)}),
        (ResultWatcher.aupdates, {"task_id": ("", NO_DEFAULT), "timeout": ("*", None)}),
        (ResultWatcher.health, {}),
        (ResultWatcher.wait_ready, {"timeout": ("", None)}),
        (ResultWatcher.close, {"timeout": ("", 5.0)}),
        (ResultWatcher.stats, {}),
        (ResultFuture.result, {"timeout": ("", None)}),
        (ResultFuture.exception, {"timeout": ("", None)}),
        (ResultFuture.cancel, {}),
        (ResultFuture.add_done_callback, {"fn": ("", NO_DEFAULT)}),
        (
            BaseResultConsumer.start,
            {"initial_task_id": ("", NO_DEFAULT), "no_ack": ("", True), "kwargs": ("**", NO_DEFAULT)},
        ),
        (BaseResultConsumer.drain_events, {"timeout": ("", None)}),
        (BaseResultConsumer.consume_from, {"task_id": ("", NO_DEFAULT)}),
        (BaseResultConsumer.cancel_for, {"task_id": ("", NO_DEFAULT)}),
        (BaseResultConsumer.on_wait_for_pending, {"result": ("", NO_DEFAULT), "kwargs": ("**", NO_DEFAULT)}),
        (BaseResultConsumer.on_state_change, {"meta": ("", NO_DEFAULT), "message": ("", NO_DEFAULT)}),
        (BaseResultConsumer.on_after_fork, {}),
        (BaseResultConsumer.reconnect, {}),
        (BaseResultConsumer.stop, {}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures(function: Any, expected: dict[str, tuple[str, Any]]) -> None:
    found = parameters(function)
    # Later arguments may be added, as long as nobody has to give them.
    assert list(found)[: len(expected)] == list(expected) or set(expected) <= set(found)
    for name, (kind, default) in expected.items():
        assert found[name][0] == kind, name
        if default is ANY:
            assert found[name][1] is not NO_DEFAULT, name
        else:
            assert found[name][1] == default, name
    assert all(
        default is not NO_DEFAULT or kind.startswith("*")
        for name, (kind, default) in found.items()
        if name not in expected
    )


def test_the_consumers_keep_the_contracts_signatures() -> None:
    for name in (
        "start",
        "stop",
        "drain_events",
        "consume_from",
        "cancel_for",
        "on_state_change",
        "on_wait_for_pending",
    ):
        assert parameters(getattr(ResultConsumer, name)) == parameters(getattr(BaseResultConsumer, name)), name
    assert ResultConsumer.Consumer is None


def test_a_watched_future_is_a_standard_one() -> None:
    assert issubclass(ResultFuture, Future)
    assert "revoke" in (ResultFuture.cancel.__doc__ or ""), "says that the task itself goes on"
    assert "done()" in (inspect.getdoc(ResultFuture) or ""), "says how to tell a task's TimeoutError from ours"


def test_task_meta() -> None:
    names = """
        task_id status result traceback children date_done group_id parent_id name args kwargs worker retries queue raw
    """
    fields = names.split()
    meta = TaskMeta(task_id="a", status="SUCCESS")
    assert [getattr(meta, field) for field in fields] == ["a", "SUCCESS", *[None] * 12, {}]
    assert meta.ready
    assert not TaskMeta(task_id="a", status="PROGRESS").ready
    with pytest.raises(AttributeError):
        meta.status = "FAILURE"  # type: ignore[misc]


def test_a_watcher_has_its_properties() -> None:
    watcher = ResultWatcher("redis://localhost")
    assert watcher.reply_to is None
    future = ResultFuture("a", None)
    assert (future.task_id, future.status, future.meta) == ("a", None, None)


def test_importing_is_inert() -> None:
    """No celery, no thread, and the logger says nothing unless told to."""
    program = (
        "import sys, threading, logging, bgresults\n"
        "bgresults.ResultWatcher('redis://localhost')\n"
        "assert 'celery' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
        "assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger('bgresults').handlers)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_server_sent_events() -> None:
    """The same call for both kinds, and for the frameworks all of it that a request does not say."""
    from bgresults import sse

    assert set(sse.__all__) >= {"HEADERS", "asse", "plain_result", "saw_end", "sse"}
    assert all(hasattr(sse, name) for name in sse.__all__)
    parameters = inspect.signature(sse.sse).parameters
    assert parameters == inspect.signature(sse.asse).parameters
    assert list(parameters) == ["watcher", "task_id", "last_event_id", "heartbeat", "retry", "timeout", "result"]
    defaults = {name: item.default for name, item in parameters.items() if item.kind is item.KEYWORD_ONLY}
    assert defaults == {
        "last_event_id": None,
        "heartbeat": 15.0,
        "retry": 3.0,
        "timeout": None,
        "result": sse.plain_result,
    }


def test_a_default_of_the_watcher_has_a_name() -> None:
    """In the help, instead of an address."""
    assert "lifetime: float | DefaultLifetime | None = <default_lifetime>" in str(
        inspect.signature(ResultWatcher.watch)
    ).replace("'", "")
