"""What CPython 3.13 tests of ``concurrent.futures.Future``, held against futures that a watcher made.

The cases are those of its ``FutureTests``, in our words and through public methods only: a future is resolved by what a
worker would write, cancelled by its owner, or claimed with ``set_running_or_notify_cancel()``. Two differ on purpose:
the ``repr`` is ours, and there is no state between "cancelled" and "cancelled, and everybody knows".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from bgresults import ResultFuture, ResultWatcher
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.results import ResultWriter, new_id

STATES = ("pending", "running", "cancelled", "raised", "returned")
#: That a callback was not called in vain is seen by this, since None may be what it was called with.
NOTHING = object()


class Given:
    """Makes futures in a given state, and brings pending ones to an end."""

    def __init__(self, watcher: ResultWatcher, writer: ResultWriter) -> None:
        self.watcher = watcher
        self.writer = writer

    def future(self, state: str) -> ResultFuture:
        future = self.watcher.watch(new_id())
        if state == "running":
            assert future.set_running_or_notify_cancel()
        elif state == "cancelled":
            assert future.cancel()
        elif state == "raised":
            self.fail(future, OSError("no luck"))
        elif state == "returned":
            self.succeed(future, 42)
        return future

    def succeed(self, future: ResultFuture, value: object) -> None:
        """A worker writes a value, and it has arrived."""
        self.writer.write(future.task_id, value)
        wait_until(future.done, "the value")

    def fail(self, future: ResultFuture, error: Exception) -> None:
        """A worker writes an exception, and it has arrived."""
        self.writer.fail(future.task_id, error)
        wait_until(future.done, "the exception")


@pytest.fixture
def given(watcher: ResultWatcher, writer: ResultWriter) -> Given:
    return Given(watcher, writer)


class Callback:
    """Remembers what a question to the future was answered with, inside the callback."""

    def __init__(self, question: Callable[[Future[Any]], object]) -> None:
        self.question = question
        self.answer: Any = NOTHING

    def __call__(self, future: Future[Any]) -> None:
        self.answer = self.question(future)

    def until_called(self) -> Any:
        wait_until(lambda: self.answer is not NOTHING, "the callback")
        return self.answer


def doh(_future: Future[Any]) -> None:
    raise RuntimeError("doh!")


class TestDoneCallbacks:
    def test_with_result(self, given: Given) -> None:
        future, callback = given.future("pending"), Callback(lambda ended: ended.result())
        future.add_done_callback(callback)
        given.succeed(future, 5)
        assert callback.until_called() == 5

    def test_with_exception(self, given: Given) -> None:
        future, callback = given.future("pending"), Callback(lambda ended: ended.exception())
        future.add_done_callback(callback)
        given.fail(future, ValueError("test"))
        assert callback.until_called().args == ("test",)

    def test_with_cancel(self, given: Given) -> None:
        future, callback = given.future("pending"), Callback(lambda ended: ended.cancelled())
        future.add_done_callback(callback)
        assert future.cancel()
        assert callback.answer is True

    def test_that_raises(self, given: Given, caplog: pytest.LogCaptureFixture) -> None:
        future, later = given.future("pending"), Callback(lambda _ended: True)
        future.add_done_callback(doh)
        future.add_done_callback(later)
        with caplog.at_level(logging.ERROR, "concurrent.futures"):
            given.succeed(future, 5)
            assert later.until_called() is True
        assert "RuntimeError: doh!" in caplog.text

    def test_already_successful(self, given: Given) -> None:
        callback = Callback(lambda ended: ended.result())
        given.future("returned").add_done_callback(callback)
        assert callback.answer == 42

    def test_already_failed(self, given: Given) -> None:
        callback = Callback(lambda ended: ended.exception())
        given.future("raised").add_done_callback(callback)
        assert callback.answer.args == ("no luck",)

    def test_already_cancelled(self, given: Given) -> None:
        callback = Callback(lambda ended: ended.cancelled())
        given.future("cancelled").add_done_callback(callback)
        assert callback.answer is True

    def test_that_raises_already_succeeded(self, given: Given, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR, "concurrent.futures"):
            given.future("returned").add_done_callback(doh)
        assert "exception calling callback for" in caplog.text
        assert "doh!" in caplog.text

    def test_are_called_in_order_and_once(self, given: Given) -> None:
        called: list[int] = []
        future, last = given.future("pending"), Callback(lambda _ended: True)
        for number in range(5):
            future.add_done_callback(lambda _ended, number=number: called.append(number))  # type: ignore[misc]
        future.add_done_callback(last)
        given.succeed(future, None)
        last.until_called()
        assert called == [0, 1, 2, 3, 4]


class TestState:
    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("pending", "state=pending"),
            ("running", "state=running"),
            ("cancelled", "state=cancelled"),
            ("raised", "state=finished raised OSError"),
            ("returned", "state=finished returned int"),
        ],
    )
    def test_repr(self, given: Given, state: str, words: str) -> None:
        future = given.future(state)
        text = repr(future)
        assert words in text
        assert future.task_id in text

    @pytest.mark.parametrize(
        ("state", "answer"),
        [("pending", True), ("running", False), ("cancelled", True), ("raised", False), ("returned", False)],
    )
    def test_cancel(self, given: Given, state: str, answer: bool) -> None:
        future = given.future(state)
        before = (future.cancelled(), future.running(), future.done())
        assert future.cancel() is answer
        if state == "pending":
            assert (future.cancelled(), future.running(), future.done()) == (True, False, True)
            assert future.cancel() is True
        else:
            assert (future.cancelled(), future.running(), future.done()) == before

    @pytest.mark.parametrize("state", STATES)
    def test_cancelled(self, given: Given, state: str) -> None:
        assert given.future(state).cancelled() is (state == "cancelled")

    @pytest.mark.parametrize("state", STATES)
    def test_done(self, given: Given, state: str) -> None:
        assert given.future(state).done() is (state in {"cancelled", "raised", "returned"})

    @pytest.mark.parametrize("state", STATES)
    def test_running(self, given: Given, state: str) -> None:
        assert given.future(state).running() is (state == "running")

    def test_a_running_one_still_ends(self, given: Given) -> None:
        future = given.future("running")
        given.succeed(future, 7)
        assert (future.result(timeout=0), future.running()) == (7, False)


class TestResult:
    @pytest.mark.parametrize("state", ["pending", "running"])
    def test_with_timeout(self, given: Given, state: str) -> None:
        future = given.future(state)
        with pytest.raises(FutureTimeoutError):
            future.result(timeout=0)
        with pytest.raises(FutureTimeoutError):
            future.exception(timeout=0)
        assert not future.done()

    def test_of_a_cancelled_one(self, given: Given) -> None:
        future = given.future("cancelled")
        with pytest.raises(CancelledError):
            future.result(timeout=0)
        with pytest.raises(CancelledError):
            future.exception(timeout=0)

    def test_of_one_that_raised(self, given: Given) -> None:
        future = given.future("raised")
        with pytest.raises(OSError, match="no luck"):
            future.result(timeout=0)
        assert isinstance(future.exception(timeout=0), OSError)

    def test_of_one_that_returned(self, given: Given) -> None:
        future = given.future("returned")
        assert future.result(timeout=0) == 42
        assert future.exception(timeout=0) is None

    def test_result_with_success(self, given: Given) -> None:
        future = given.future("pending")
        waiter = Caller(lambda: future.result(timeout=20))
        waiter.until_blocked()
        given.succeed(future, 42)
        assert waiter.outcome() == 42

    def test_result_with_cancel(self, given: Given) -> None:
        future = given.future("pending")
        waiter = Caller(lambda: future.result(timeout=20))
        waiter.until_blocked()
        assert future.cancel()
        with pytest.raises(CancelledError):
            waiter.outcome()

    def test_exception_with_success(self, given: Given) -> None:
        future = given.future("pending")
        waiter = Caller(lambda: future.exception(timeout=20))
        waiter.until_blocked()
        given.fail(future, OSError())
        assert isinstance(waiter.outcome(), OSError)

    def test_many_wait_for_one(self, given: Given) -> None:
        future = given.future("pending")
        waiters = [Caller(lambda: future.result(timeout=20)) for _ in range(10)]
        for waiter in waiters:
            waiter.until_blocked()
        given.succeed(future, "all")
        assert [waiter.outcome() for waiter in waiters] == ["all"] * 10


class TestFinishedFromOutside:
    """Whoever finishes a future by hand may do so once, and what a worker writes later changes nothing."""

    def test_multiple_set_result(self, given: Given) -> None:
        future = given.future("pending")
        future.set_result(1)
        with pytest.raises(InvalidStateError, match=r"FINISHED: .* state=finished returned int"):
            future.set_result(2)
        assert future.done()
        assert future.result() == 1

    def test_multiple_set_exception(self, given: Given) -> None:
        future, error = given.future("pending"), ValueError()
        future.set_exception(error)
        with pytest.raises(InvalidStateError, match=r"FINISHED: .* state=finished raised ValueError"):
            future.set_exception(Exception())
        assert future.exception() is error

    @pytest.mark.parametrize("state", ["cancelled", "raised", "returned"])
    def test_not_after_its_end(self, given: Given, state: str) -> None:
        future = given.future(state)
        with pytest.raises(InvalidStateError):
            future.set_result("too late")
        with pytest.raises(InvalidStateError):
            future.set_exception(ValueError("too late"))

    def test_no_longer_watched(self, given: Given) -> None:
        future, other = given.future("pending"), given.future("pending")
        future.set_result("by hand")
        assert given.watcher.pending == 1
        given.writer.write(future.task_id, "by a worker")
        given.succeed(other, None)
        assert future.result() == "by hand"
