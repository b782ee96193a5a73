"""The last step of a chain ends when a step before it has failed, as ``AsyncResult.get()`` does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chord
from celery.exceptions import ChordError

from bgresults import TaskRevokedError, WatcherClosedError
from bgresults.integrations.celery import CeleryResultWatcher, GroupFutures
from bgresults.integrations.celery.following import follow
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]

REVOKED = {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"}


@pytest.fixture
def app(own_redis: RedisServer, new_app: NewApp) -> Celery:
    return new_app(result_backend=own_redis.url())


@pytest.fixture
def watcher(app: Celery, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(app)


@pytest.fixture
def writer(own_redis: RedisServer) -> Iterator[ResultWriter]:
    results = ResultWriter(own_redis)
    yield results
    results.close()


class Group:
    """In place of a ``GroupResult``, which would subscribe to its members."""

    def __init__(self, members: list[Any], parent: Any = None) -> None:
        self.id = new_id()
        self.results = members
        self.parent = parent


@pytest.fixture
def chained(app: Celery) -> Any:
    """Of the last of three steps, the second of which is a group of two."""
    first = app.AsyncResult(new_id())
    second = Group([app.AsyncResult(new_id()) for _ in range(2)], first)
    return app.AsyncResult(new_id(), parent=second)


def nothing_is_watched(watcher: CeleryResultWatcher, writer: ResultWriter) -> bool:
    return watcher.pending == 0 and not writer.channels()


def test_a_revoked_step(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    """Nothing will ever be stored for the last one."""
    future = watcher.watch(chained)
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    error = future.exception(WAIT)
    assert isinstance(error, TaskRevokedError)
    assert error.args == ("expired",)
    assert future.meta is not None
    assert (future.meta.task_id, future.meta.status, future.meta.result) == (chained.id, "REVOKED", error)
    wait_until(lambda: nothing_is_watched(watcher, writer), "the end of all watching")


def test_a_member_of_a_group_before_it(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(chained)
    writer.write(chained.parent.parent.id, 1)
    writer.fail(chained.parent.results[1].id, KeyError("k"), "the worker's traceback")
    error = future.exception(WAIT)
    assert isinstance(error, KeyError)
    assert "the worker's traceback" in str(error.__cause__)
    assert future.status == "FAILURE"


def test_its_own_end(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    """Of a step whose result is ignored nobody ever hears: it is let go with the last."""
    future = watcher.watch(chained)
    writer.write(chained.parent.results[0].id, 1)
    writer.write(chained.id, 5)
    assert future.result(WAIT) == 5
    wait_until(lambda: nothing_is_watched(watcher, writer), "the end of all watching")
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    assert future.result(0) == 5


@pytest.mark.parametrize("how", ["cancelled", "dropped"])
def test_nobody_waits_any_more(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter, how: str) -> None:
    future = watcher.watch(chained)
    wait_until(lambda: len(writer.channels()) == 4, "the subscriptions")
    if how == "cancelled":
        future.cancel()
    else:
        # There is no cycle that only the garbage collector would find.
        del future
    wait_until(lambda: nothing_is_watched(watcher, writer), "the end of all watching")


def test_waited_for_through_a_callback_alone(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    ended: list[Any] = []
    watcher.watch(chained).add_done_callback(ended.append)
    gc.collect()
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    wait_until(lambda: ended, "the callback")
    assert isinstance(ended[0].exception(0), TaskRevokedError)


def test_updates(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    states = watcher.updates(chained, timeout=WAIT)
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    assert [(state.task_id, state.status) for state in states] == [(chained.id, "REVOKED")]


def test_an_update_callback_that_exits(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    future = watcher.watch(chained, on_update=leave)
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    assert isinstance(future.exception(WAIT), TaskRevokedError)
    assert watcher.stats().thread_alive


def test_a_step_that_cannot_be_read(chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    """That says nothing about the last one."""
    future = watcher.watch(chained)
    writer.write_body(chained.parent.parent.id, b"garbage")
    wait_until(lambda: watcher.stats().undecodable, "the garbage")
    assert not future.done()
    writer.write(chained.id, 5)
    assert future.result(WAIT) == 5


def test_a_closed_watcher(chained: Any, watcher: CeleryResultWatcher) -> None:
    future = watcher.watch(chained)
    watcher.close()
    assert isinstance(future.exception(0), WatcherClosedError)


def test_all_of_it_was_stored_already(
    chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one ends before it is told of the steps before it: with what quotes their exception."""
    writer.fail(chained.parent.results[1].id, KeyError("k"))
    writer.fail(chained.id, ChordError("Dependency raised KeyError('k')"))

    def follow_late(future: Any, before: Any) -> None:
        wait_until(future.done, "the stored result")
        follow(future, before)

    monkeypatch.setattr("bgresults.integrations.celery.following.follow", follow_late)
    future = watcher.watch(chained)
    assert isinstance(future.exception(0), KeyError)
    assert future.meta is not None
    assert isinstance(future.meta.result, KeyError)


def test_several_at_once(app: Celery, chained: Any, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    """Each with its own steps, members of a group too, which Celery's ``get()`` waits for in vain."""
    alone = app.AsyncResult(new_id())
    one, other, _ = watcher.watch_many([alone, chained, new_id()])
    assert watcher.pending == 3 + 3
    writer.write(chained.parent.parent.id, REVOKED, "REVOKED")
    assert isinstance(other.exception(WAIT), TaskRevokedError)
    assert not one.done()
    wait_until(lambda: watcher.pending == 2, "the steps to be let go")
    members = watcher.watch_group(Group([chained, alone]))
    assert isinstance(members.exception(WAIT), TaskRevokedError)
    wait_until(lambda: watcher.pending == 3, "the steps to be let go")


def test_the_header_of_a_chord_is_watched_once(app: Celery, watcher: CeleryResultWatcher, writer: ResultWriter) -> None:
    header = [app.signature("echo", (number,), app=app) for number in range(2)]
    futures = watcher.submit(chord(header, app.signature("echo", app=app), app=app))
    assert isinstance(futures, GroupFutures)
    assert watcher.pending == 3
    writer.fail(futures[1].task_id, KeyError("k"))
    assert isinstance(futures.exception(WAIT), KeyError)
    assert futures.body is not None
    assert isinstance(futures.body.exception(0), KeyError)
    assert not futures[0].done()
