"""What may be passed as a task id, and what the refusal of anything else suggests."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import celery
import pytest
from celery.result import AsyncResult, GroupResult, ResultSet

from bgresults import ResultWatcher
from bgresults.task_ids import task_id_of, task_ids_of

APP = celery.Celery("none", broker="memory://", backend="cache+memory://", set_as_current=False)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Text(str):
    """Compares as it likes."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


@pytest.mark.parametrize(
    ("value", "task_id"),
    [
        ("abc", "abc"),
        ("ä", "ä"),
        (" ", " "),
        (Text("abc"), "abc"),
        (UUID, str(UUID)),
        (AsyncResult("abc", app=APP), "abc"),
        (SimpleNamespace(id="abc"), "abc"),
    ],
)
def test_ids(value: Any, task_id: str) -> None:
    found = task_id_of(value)
    assert found == task_id
    assert type(found) is str


@pytest.mark.parametrize("value", [None, 1, b"abc", 1.5, [], ("abc",), {"id": "abc"}, object(), SimpleNamespace(id=1)])
def test_no_ids(value: Any) -> None:
    with pytest.raises(TypeError, match=f"a non-empty str, a uuid.UUID or an AsyncResult, not {type(value).__name__}"):
        task_id_of(value)


@pytest.mark.parametrize("value", ["", SimpleNamespace(id="")])
def test_empty(value: Any) -> None:
    with pytest.raises(ValueError, match="not an empty str"):
        task_id_of(value)


def test_what_no_key_can_be_made_of() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        task_id_of("\ud800")


@pytest.mark.parametrize("kind", [ResultSet, lambda results, app: GroupResult("group", results, app=app)])
def test_several_tasks_at_once(kind: Any) -> None:
    with pytest.raises(TypeError, match="watch_many"):
        task_id_of(kind([AsyncResult("abc", app=APP)], app=APP))


class TestMany:
    def test_any_iterable(self) -> None:
        assert task_ids_of(value for value in ("a", UUID, SimpleNamespace(id="b"))) == ["a", str(UUID), "b"]
        assert task_ids_of([]) == []
        assert task_ids_of(["a", "a"]) == ["a", "a"]

    @pytest.mark.parametrize("value", ["abc", b"abc", UUID])
    def test_a_single_id(self, value: Any) -> None:
        with pytest.raises(TypeError, match="use watch\\(\\) for one"):
            task_ids_of(value)

    @pytest.mark.parametrize("value", [None, 1])
    def test_no_iterable(self, value: Any) -> None:
        with pytest.raises(TypeError, match="an iterable of ids"):
            task_ids_of(value)

    @pytest.mark.parametrize(("values", "error"), [(["a", ""], ValueError), (["a", None], TypeError)])
    def test_one_bad_id_is_enough(self, values: list[Any], error: type[Exception]) -> None:
        watcher = ResultWatcher("redis://localhost")
        with pytest.raises(error):
            watcher.watch_many(values)
        assert (watcher.pending, watcher.stats().thread_alive) == (0, False)


@pytest.mark.parametrize(("value", "error"), [("", ValueError), (None, TypeError), (b"abc", TypeError)])
def test_watch_and_updates_raise_at_once(value: Any, error: type[Exception]) -> None:
    watcher = ResultWatcher("redis://localhost")
    with pytest.raises(error):
        watcher.watch(value)
    with pytest.raises(error):
        watcher.updates(value)
    assert (watcher.pending, watcher.stats().thread_alive) == (0, False)
