"""A fork while another thread holds one of the locks that the library takes: the child must not wait for it."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any

import pytest

from bgresults import ForkedError, ResultFuture, ResultWatcher, forking
from tests.interleavings.bench import CLOSED, VALUE, WAIT, Bench, Run, end_of
from tests.support.calls import Caller
from tests.support.forks import c_fork, c_fork_with_child_hook, run_in_child
from tests.support.stops import wait_unless_stuck

# One for all: collecting an old one takes the lock of the logging module.
HANDLER = logging.StreamHandler()

FORKS = pytest.mark.parametrize(
    "fork", [os.fork, c_fork, c_fork_with_child_hook], ids=["fork", "c_fork", "child_hook_only"]
)

SECOND_FORKS = pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["fork", "c_fork"])


class Scene(Run):
    """A watcher at work: threads wait for its futures and streams, and futures are left for a child to touch."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "locks", frozenset({VALUE, CLOSED}), own=True)
        self.waited, self.held, self.by_hand, self.called, self.dropped = (self.watch(self.new_id()) for _ in range(5))
        self.stream, self.waited_stream = (self.watcher.updates(self.new_id()) for _ in range(2))
        self.streamed = [self.stream._future.task_id, self.waited_stream._future.task_id]
        self.callers = [Caller(lambda: self.waited.result(WAIT)), Caller(lambda: list(self.waited_stream))]
        self.has_grandchildren = True
        self.callers[0].until_blocked()
        self.until_idle(*(future.task_id for future in self.futures), *self.streamed)

    def __enter__(self) -> Scene:
        return self

    def check_child(self) -> None:
        check_inherited(self)
        check_new(self.watcher, self.bench.stored_id)
        if self.has_grandchildren:
            # At this moment the child has threads of its own.
            assert run_in_child(lambda: check_new(self.watcher, self.bench.stored_id)) == 0
        self.watcher.close()
        gc.collect()

    def finish(self) -> None:
        """The parent has noticed nothing."""
        for task_id in (*(future.task_id for future in self.futures), *self.streamed):
            self.write(task_id)
        assert self.callers[0].outcome() == "value"
        assert [meta.result for meta in self.callers[1].outcome()] == ["value"]
        assert [meta.result for meta in self.stream] == ["value"]
        super().finish()


def check_inherited(scene: Scene) -> None:
    """Whatever is done to it, an inherited future fails, and nothing waits."""
    for future in (scene.waited, scene.held):
        assert isinstance(future.exception(0), ForkedError)
    assert not scene.held.cancel()
    with pytest.raises(InvalidStateError):
        scene.by_hand.set_result(1)
    calls: list[Future[Any]] = []
    scene.called.add_done_callback(calls.append)
    assert calls == [scene.called]
    for stream in (scene.stream, scene.waited_stream):
        with pytest.raises(ForkedError):
            next(stream)
    dropped: list[ResultFuture] = [scene.dropped]
    del scene.dropped
    scene.futures.clear()
    dropped.clear()
    gc.collect()


def check_new(watcher: ResultWatcher, stored_id: str) -> None:
    """Everything works in the process that calls it."""
    assert watcher.wait_ready(WAIT)
    assert end_of(watcher.watch(stored_id)) == VALUE
    assert [meta.result for meta in watcher.updates(stored_id, timeout=WAIT)] == ["value"]
    assert watcher.watch("never").cancel()
    assert watcher.pending == 0


# Each of our own, and those of the standard library that threads of ours take.
LOCKS: dict[str, Callable[[Scene], contextlib.AbstractContextManager[Any]]] = {
    "leaf_lock": lambda scene: forking.leaf_lock(),
    "start": lambda scene: scene.watcher._session.starting,
    "wake_up": lambda scene: _wakeup(scene)._closing,
    "future": lambda scene: scene.held._condition,
    "stream": lambda scene: scene.stream._future._condition,
    "log_handler": lambda scene: HANDLER.lock or contextlib.nullcontext(),
    "logging": lambda scene: logging._lock,  # type: ignore[attr-defined]
}


def _wakeup(scene: Scene) -> Any:
    return scene.watcher._session.wakeup


@contextlib.contextmanager
def held(lock: contextlib.AbstractContextManager[Any], fork: Callable[[], int]) -> Iterator[None]:
    """Another thread holds the lock meanwhile; with hooks, which may wait for it, until they do."""
    inside, let_go, forker = threading.Event(), threading.Event(), threading.get_ident()

    def hold() -> None:
        with lock:
            inside.set()
            if fork is os.fork:
                wait_unless_stuck(let_go, forker)
            else:
                # Still: a thread that asked for the interpreter at the moment of such a fork would be missed.
                let_go.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert inside.wait(WAIT)
    try:
        yield
    finally:
        let_go.set()
        holder.join(WAIT)


@FORKS
@pytest.mark.parametrize("name", LOCKS)
def test_held_at_the_moment_of_the_fork(bench: Bench, name: str, fork: Callable[[], int]) -> None:
    with Scene(bench) as scene:
        # logging's own hook before a fork would wait for a lock that a C-level fork left locked.
        scene.has_grandchildren = not (name == "logging" and fork is not os.fork)
        logging.getLogger("bgresults").addHandler(HANDLER)
        try:
            with held(LOCKS[name](scene), fork):
                assert run_in_child(scene.check_child, fork=fork) == 0
        finally:
            logging.getLogger("bgresults").removeHandler(HANDLER)
        scene.finish()


# What a child may do before anything else has told it that it is one.
FIRST_TOUCHES: dict[str, Callable[[Scene], object]] = {
    "watch": lambda scene: scene.watcher.watch(scene.bench.stored_id),
    "updates": lambda scene: scene.watcher.updates(scene.bench.stored_id),
    "wait_ready": lambda scene: scene.watcher.wait_ready(WAIT),
    "stats": lambda scene: scene.watcher.stats(),
    "close": lambda scene: scene.watcher.close(),
    "done": lambda scene: scene.held.done(),
    "result": lambda scene: scene.held.exception(0),
    "add_done_callback": lambda scene: scene.held.add_done_callback(lambda _: None),
    "cancel": lambda scene: scene.held.cancel(),
    "set_result": lambda scene: scene.held.set_result(1),
    "next": lambda scene: next(scene.stream),
    "drop_stream": lambda scene: scene.__dict__.pop("stream"),
    "drop": lambda scene: (scene.__dict__.pop("dropped"), scene.__dict__.pop("futures")),
}


@pytest.mark.parametrize("touch", FIRST_TOUCHES)
def test_the_first_touch_in_an_unnoticed_child(bench: Bench, touch: str) -> None:
    """The lock of the parent's that it would come to is held, and stays so."""
    with Scene(bench) as scene:

        def child() -> None:
            with contextlib.suppress(ForkedError, InvalidStateError):
                FIRST_TOUCHES[touch](scene)
            if touch != "close":
                check_new(scene.watcher, bench.stored_id)

        with held(forking.leaf_lock(), c_fork):
            assert run_in_child(child, fork=c_fork) == 0
        scene.finish()


@SECOND_FORKS
def test_an_unnoticed_child_forks_before_anything_else(bench: Bench, fork: Callable[[], int]) -> None:
    """The hook before the second fork must not wait for the lock of the first one's parent."""
    with Scene(bench) as scene:

        def child() -> None:
            assert run_in_child(scene.check_child, fork=fork) == 0

        with held(forking.leaf_lock(), c_fork):
            assert run_in_child(child, fork=c_fork) == 0
        scene.finish()


class Dawdler:
    """Starts anew in a child, and takes its time in one of them."""

    def __init__(self) -> None:
        self.pid = 0
        self.here, self.go_on = threading.Event(), threading.Event()

    def _after_fork_in_child(self) -> None:
        if os.getpid() == self.pid:
            self.here.set()
            assert self.go_on.wait(WAIT)


@contextlib.contextmanager
def in_the_middle_of_a_reset(watcher: ResultWatcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a child that no hook heard of: another thread has begun to make the library anew, and not ended."""
    dawdler = Dawdler()
    dawdler.pid = os.getpid()
    monkeypatch.setattr(forking, "_live", [dawdler, watcher])
    resetting = Caller(forking.generation)
    assert dawdler.here.wait(WAIT)
    try:
        yield
    finally:
        dawdler.go_on.set()
        resetting.outcome()


def test_a_thread_that_comes_in_the_middle_of_the_reset(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be given the parent's session, in which nobody will ever resolve anything."""
    with Scene(bench) as scene:

        def child() -> None:
            with in_the_middle_of_a_reset(scene.watcher, monkeypatch):
                futures: list[ResultFuture] = []
                caller = Caller(lambda: futures.append(scene.watcher.watch(bench.stored_id)))
                caller.thread.join(0.05)
            caller.outcome()
            assert end_of(futures[0]) == VALUE

        assert run_in_child(child, fork=c_fork) == 0
        scene.finish()


@SECOND_FORKS
def test_a_fork_in_the_middle_of_the_reset(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fork: Callable[[], int]
) -> None:
    with Scene(bench) as scene:

        def child() -> None:
            with in_the_middle_of_a_reset(scene.watcher, monkeypatch):
                assert run_in_child(scene.check_child, fork=fork) == 0

        assert run_in_child(child, fork=c_fork) == 0
        scene.finish()
