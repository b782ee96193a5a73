"""No thread to be had for the watcher: whoever calls is told, nothing stays pending, and a later call works."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from bgresults import BackendUnavailableError, ResultWatcher
from tests.limits.backends import WAIT, Backend
from tests.limits.running import run
from tests.support.leaks import Snapshot
from tests.support.results import new_id, new_ids

WORDS = "the drain thread cannot be started: can't start new thread"


class Shortage:
    """Threads of the library cannot be started while :attr:`on` is set; those of the tests can."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = True
        original = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if self.on and thread.name.startswith("bgresults-"):
                raise RuntimeError("can't start new thread")
            original(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


@pytest.fixture
def shortage(monkeypatch: pytest.MonkeyPatch) -> Shortage:
    return Shortage(monkeypatch)


def works(watcher: ResultWatcher, backend: Backend) -> None:
    future = watcher.watch(new_id())
    backend.send(watcher, future.task_id, "works")
    assert future.result(WAIT) == "works"


def test_every_call_says_so(watcher: ResultWatcher, backend: Backend, shortage: Shortage) -> None:
    calls: list[Any] = []
    for future in (
        watcher.watch(new_id()),
        *watcher.watch_many(new_ids(3)),
        watcher.watch("id", on_update=calls.append),
    ):
        error = future.exception(0)
        assert isinstance(error, BackendUnavailableError)
        assert str(error) == WORDS
    with pytest.raises(BackendUnavailableError, match=WORDS):
        next(watcher.updates(new_id()))
    with pytest.raises(BackendUnavailableError, match=WORDS):
        watcher.wait_ready(WAIT)
    if backend.kind == "rpc":
        with pytest.raises(BackendUnavailableError, match=WORDS):
            _ = watcher.reply_to
    assert watcher.pending == 0
    assert not calls
    assert not watcher.closed
    shortage.on = False
    works(watcher, backend)
    assert watcher.stats().watched == watcher.stats().failed + 1


def test_nothing_stays_behind(watcher: ResultWatcher, backend: Backend, shortage: Shortage) -> None:
    """However long there is none, and however much is asked for meanwhile."""
    before = Snapshot()
    for _ in range(3):
        watcher.watch_many(new_ids(1000))
    session = watcher._session
    assert len(session.commands) + len(session.pending.dropped) + len(session.pending.released) == 0
    assert not before.new_in(Snapshot())
    shortage.on = False
    works(watcher, backend)


def test_who_was_registered_meanwhile_ends_too(
    watcher: ResultWatcher, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler watches in the middle of the start that fails: it has relied on that start."""
    inner: list[Any] = []
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", original)
        inner.append(watcher.watch(new_id()))
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    outer = watcher.watch(new_id())
    for future in (outer, *inner):
        assert str(future.exception(WAIT)) == WORDS
    assert watcher.pending == 0
    works(watcher, backend)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is limited as on Linux")
def test_no_memory_for_its_stack(url: str) -> None:
    """The real thing, in a process of its own."""
    assert run("stacks", url).strip() == WORDS
