"""The process generation and the leaf lock across forks of all kinds, each at its worst moment."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bgresults import forking
from tests.support.calls import until_in
from tests.support.forks import c_fork, c_fork_with_child_hook, run_in_child

FORKS = pytest.mark.parametrize(
    "fork", [os.fork, c_fork, c_fork_with_child_hook], ids=["fork", "c_fork", "child_hook_only"]
)


class Listener:
    """Something that has to start anew in a child."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def _after_fork_in_child(self) -> None:
        self.told.append(os.getpid())


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    forking.register(made)
    yield made
    assert made.told == [], "the parent must not be told"


def lock_is_free() -> bool:
    """Whether another thread could take the leaf lock: this one might hold it already."""
    got: list[bool] = []

    def attempt() -> None:
        lock = forking.leaf_lock()
        got.append(lock.acquire(timeout=5))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return got[0]


def check_child(before: int, listener: Listener) -> None:
    assert forking.generation() == before + 1
    assert forking.generation() == before + 1
    assert listener.told == [os.getpid()]
    assert lock_is_free()
    assert listener.told == [os.getpid()]


@FORKS
def test_the_generation_changes_once(listener: Listener, fork: Callable[[], int]) -> None:
    before = forking.generation()
    assert run_in_child(lambda: check_child(before, listener), fork=fork) == 0
    assert forking.generation() == before
    assert lock_is_free()


@FORKS
def test_a_childs_child(listener: Listener, fork: Callable[[], int]) -> None:
    before = forking.generation()

    def child() -> None:
        check_child(before, listener)
        listener.told.clear()
        assert run_in_child(lambda: check_child(before + 1, listener), fork=fork) == 0
        assert forking.generation() == before + 1
        assert lock_is_free()

    assert run_in_child(child, fork=fork) == 0


def test_whether_threads_may_be_looked_at() -> None:
    def unnoticed() -> None:
        assert not forking.knows_its_threads()
        assert run_in_child(noticed) == 0, "Python has cleaned up"

    def noticed() -> None:
        assert forking.knows_its_threads()

    assert forking.knows_its_threads()
    assert run_in_child(noticed) == 0
    assert run_in_child(unnoticed, fork=c_fork) == 0


def test_a_grandchild_of_an_unnoticed_child(listener: Listener) -> None:
    """Two C-level forks in a row: nobody asked for the generation in between."""

    def grandchild() -> None:
        assert forking.generation() > 0
        assert listener.told == [os.getpid()]
        assert lock_is_free()

    def child() -> None:
        assert run_in_child(grandchild, fork=c_fork) == 0

    assert run_in_child(child, fork=c_fork) == 0


class Holder:
    """A thread that holds the leaf lock until it is told to let go."""

    def __init__(self) -> None:
        self._held, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()
        assert self._held.wait(10)

    def _hold(self) -> None:
        with forking.leaf_lock():
            self._held.set()
            self._let_go.wait(20)

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join()


def test_a_fork_waits_for_the_lock(listener: Listener) -> None:
    """So that no child sees half of what was being stored under it."""
    holder, main = Holder(), threading.current_thread()

    def release_later() -> None:
        until_in(main, "_before")
        holder.let_go()

    releaser = threading.Thread(target=release_later)
    releaser.start()
    before = forking.generation()
    assert run_in_child(lambda: check_child(before, listener)) == 0
    releaser.join()
    assert lock_is_free()


@pytest.mark.parametrize("fork", [c_fork, c_fork_with_child_hook], ids=["c_fork", "child_hook_only"])
def test_a_lock_held_by_a_thread_that_did_not_come_along(listener: Listener, fork: Callable[[], int]) -> None:
    holder, before = Holder(), forking.generation()
    try:
        assert run_in_child(lambda: check_child(before, listener), fork=fork) == 0
    finally:
        holder.let_go()
    assert lock_is_free()


@FORKS
def test_a_lock_held_by_the_forking_thread_itself(listener: Listener, fork: Callable[[], int]) -> None:
    before = forking.generation()
    with forking.leaf_lock():
        assert run_in_child(lambda: check_child(before, listener), fork=fork) == 0
    assert lock_is_free()


@FORKS
def test_a_signal_handler_forks_inside_the_locked_section(listener: Listener, fork: Callable[[], int]) -> None:
    codes: list[int] = []
    before = forking.generation()

    def handler(*_: Any) -> None:
        codes.append(run_in_child(lambda: check_child(before, listener), fork=fork))

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        with forking.leaf_lock():
            signal.raise_signal(signal.SIGUSR1)
            assert codes == [0]
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert lock_is_free()


def test_the_locked_section_goes_on_in_the_child() -> None:
    """It releases the lock that it took, whatever the leaf lock is by then."""

    def child() -> None:
        assert lock_is_free()

    with forking.leaf_lock():
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert lock_is_free()


def test_threads_of_a_child_agree(listener: Listener) -> None:
    """After a fork that no hook heard of, the first threads to ask may come at the same moment."""

    def child() -> None:
        start, found = threading.Barrier(8), []

        def ask() -> None:
            start.wait(10)
            found.append((forking.generation(), id(forking.leaf_lock())))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        assert listener.told == [os.getpid()]

    assert run_in_child(child, fork=c_fork) == 0


def test_registering_keeps_nothing_alive() -> None:
    item = Listener()
    forking.register(item)
    reference = weakref.ref(item)
    del item
    gc.collect()
    assert reference() is None


def test_looking_at_what_is_registered_while_others_register() -> None:
    """As the status does, in a process that makes a watcher for each request."""
    stop = threading.Event()
    registering = threading.Event()

    def register() -> None:
        made: list[Listener] = []
        while not stop.is_set():
            made.append(Listener())
            forking.register(made[-1])
            registering.set()
            if len(made) == 50:
                made.clear()

    kept = [Listener() for _ in range(300)]
    for one in kept:
        forking.register(one)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=register)
    thread.start()
    try:
        assert registering.wait(20)
        for _ in range(400):
            assert len(forking.registered()) >= len(kept)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


def test_many_forks_leave_the_parents_lock_free() -> None:
    for _ in range(20):
        assert run_in_child(lambda: None) == 0
    assert lock_is_free()


def test_a_fork_waits_for_an_import() -> None:
    """And the child has a lock of its own."""
    forked = threading.Event()
    held = threading.Event()
    waited: list[bool] = []

    def importing() -> None:
        with forking.import_lock():
            held.set()
            waited.append(not forked.wait(0.2))

    thread = threading.Thread(target=importing)
    thread.start()
    assert held.wait(20)

    def child() -> None:
        assert forking.import_lock().acquire(timeout=5)

    code = run_in_child(child)
    forked.set()
    thread.join()
    assert (code, waited) == (0, [True])
    assert forking.import_lock().acquire(blocking=False), "and it is free again"
    forking.import_lock().release()


def test_an_import_that_never_ends_holds_no_fork_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_LONGEST_IMPORT", 0.05)
    held, over = threading.Event(), threading.Event()

    def importing() -> None:
        with forking.import_lock():
            held.set()
            over.wait(20)

    thread = threading.Thread(target=importing)
    thread.start()
    assert held.wait(20)
    try:
        assert run_in_child(forking.generation) == 0
        assert lock_is_free()
    finally:
        over.set()
        thread.join()
