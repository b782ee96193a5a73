"""What callers and workers do to a watcher, each with what it means for the book."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import InvalidStateError
from typing import Any

from bgresults import ResultFuture, TaskMeta, TooManyPendingError, WatcherClosedError
from bgresults.session import Command
from tests.model.book import BY_HAND, CANCELLED, UNAVAILABLE, Book, Entry, end_of
from tests.model.checked import CheckedScene
from tests.model.children import FORKS, check_child
from tests.model.interruptions import in_between
from tests.model.kinds import QueueConsumer
from tests.model.scene import MAX_PENDING
from tests.model.scripted import GARBAGE
from tests.support.forks import run_in_child

__all__ = ["CALLBACKS", "Play", "Step"]

#: The name of a method of :class:`Play`, and its arguments.
Step = tuple[str, tuple[Any, ...]]

#: What a callback does.
CALLBACKS = ("note", "raise", "exit", "watch", "cancel", "drop", "close", "fork")


class Nothing(Exception):
    """There is none that the step could be about."""


class Play(CheckedScene):
    """All public methods are steps of a machine."""

    def begin(self) -> None:
        super().begin()
        self._streams: list[tuple[object, Entry]] = []
        self.serial = 0
        # Whether a step comes in the middle of another one: then either may be first.
        self._interrupting = False
        self._in_callback = False

    def in_this_process(self) -> None:
        super().in_this_process()
        self._streams.clear()
        self._interrupting = self._in_callback = False
        self.declared = len(self.answers)

    # -- callers -----------------------------------------------------------------------------------------------------

    def watch(self, task_ids: tuple[str, ...], lifetime: float | None = None, callback: str | None = None) -> None:
        """Watch some ids; ``callback`` is that of all of them, which are told of states as well then."""
        dead = self.bury()
        book, session = self.book, self.session
        since, before = len(book.history), len(book.live())
        deadline = None if lifetime is None else self.clock.now + lifetime
        told = None if callback is None else self._told
        try:
            futures = self.watcher.watch_many(task_ids, lifetime=lifetime, on_update=told)
        except TooManyPendingError:
            assert not self.certain or before + len(task_ids) > MAX_PENDING
            return
        except WatcherClosedError:
            assert self.closing
            if not self.certain:
                # Closed in the middle of it: the thread may have ended and counted what was never handed out.
                book.not_handed_out(len(task_ids))
            return
        finally:
            if not self._interrupting:
                self.lockstep.meet()
        assert not self.certain or before + len(task_ids) <= MAX_PENDING or futures[0].done()
        # Whether a call that came in between was told first, and this one may have found the session that works.
        late = self.book is not book
        if (dead and not late) or (session is not self.session and futures[0].done()):
            # Or it died in the middle of this.
            assert {end_of(future) for future in futures} == {UNAVAILABLE}
            if not late:
                # Otherwise others may have watched since.
                self._check_dead()
            return
        if session is not self.session:
            book, since = self.book, 0
        for future in futures:
            entry = book.enter(future, deadline, since)
            if future.done() and end_of(future) == UNAVAILABLE:
                book.refused(entry, certainly=self.certain)
            elif callback is not None:
                self._call_back(entry, callback)

    def cancel(self, some: int) -> None:
        """Cancel one."""
        with self._held(some) as (entry, future):
            ended = future.done() and not future.cancelled()
            entry.own.add(CANCELLED)
            cancelled = future.cancel()
            assert cancelled is not ended or not self.certain
            if cancelled:
                entry.end = CANCELLED
                # Also if another one has failed to meanwhile.
                entry.own.add(CANCELLED)
            elif entry.end != CANCELLED:
                entry.own.discard(CANCELLED)

    def finish(self, some: int) -> None:
        """Finish one by hand."""
        with self._held(some) as (entry, future):
            entry.own.add(BY_HAND)
            try:
                future.set_result(BY_HAND)
            except InvalidStateError:
                assert future.done()
                if entry.end != BY_HAND:
                    entry.own.discard(BY_HAND)
            else:
                entry.end = BY_HAND
                entry.own.add(BY_HAND)

    def drop(self, some: int) -> None:
        """Let go of one."""
        entry = self._one(some, lambda entry: not entry.busy)
        if entry is not None and entry.held is not None:
            entry.busy += 1
            # In a callback the drain thread may have ended it a moment ago.
            if entry.held.done() and entry.end is None:
                entry.end = end_of(entry.held)
            place = self.lockstep.place
            undisturbed = not self._interrupting and (place is None or place.what != "line")
            if entry.end is None and not entry.pinned:
                self.book.dropped(entry, certainly=undisturbed)
            elif entry.end in (CANCELLED, BY_HAND) and not self.certain:
                # The thread may have taken it out for something else, and now finds it gone.
                self.book.dropped(entry, certainly=False)
            entry.held = None
            entry.busy -= 1

    def call_back(self, some: int, callback: str) -> None:
        """Add a callback to one."""
        with self._held(some) as (entry, _):
            self._call_back(entry, callback)

    def stream(self, task_id: str) -> None:
        """Iterate over the states of a task, later."""
        dead = self.bury()
        book = self.book
        since = len(book.history)
        try:
            made = self.watcher.updates(task_id)
        except (TooManyPendingError, WatcherClosedError):
            return
        finally:
            self.lockstep.meet()
        future = made._future
        if dead:
            assert end_of(future) == UNAVAILABLE
            if self.book is book:
                self._check_dead()
            return
        entry = self.book.enter(future, None, since)
        if future.done() and end_of(future) == UNAVAILABLE:
            self.book.refused(entry, certainly=self.certain)
            return
        del future
        self._call_back(entry, "note")
        entry.held = None
        self._streams.append((made, entry))

    def drop_stream(self) -> None:
        """Let go of the oldest."""
        if self._streams:
            made, entry = self._streams.pop(0)
            entry.own.add(CANCELLED)
            del made

    def declare(self, task_id: str) -> None:
        """Have the reply queue of a task there."""
        if self.lockstep.place is not None and self.session.ended is None:
            self.declared += 1
            self.session.tell(Command.DECLARE, ((task_id,), self.answers.append))

    # -- workers and servers -----------------------------------------------------------------------------------------

    def publish(self, task_id: str, how: str) -> None:
        """A worker reports the end of a task, a state before it, or garbage."""
        self.serial += 1
        body: dict[str, Any] = {"task_id": task_id, "status": "SUCCESS", "result": f"value {self.serial}"}
        if how == "failure":
            error = {"exc_type": "ValueError", "exc_message": [f"no {self.serial}"], "exc_module": "builtins"}
            body.update(status="FAILURE", result=error)
        elif how == "progress":
            body["status"] = "PROGRESS"
        self.server.publish(task_id, GARBAGE if how == "garbage" else body)

    def forget(self, task_id: str) -> None:
        """What the server has of a task is gone, and so is what was kept of it."""
        self.server.stored.pop(task_id, None)
        if isinstance(self.consumer, QueueConsumer):
            self.consumer.forget(task_id)

    def crash(self) -> None:
        """The drain thread meets a bug."""
        if self.server.crash():
            self.book.always.add(UNAVAILABLE)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds

    # -- processes ---------------------------------------------------------------------------------------------------

    def fork(self, how: str) -> None:
        """A child is forked, in which everything has to be right; here nothing has changed."""
        raised = self._woken()
        # The child goes on with what this thread was in the middle of.
        tracing = sys.gettrace()
        sys.settrace(None)
        try:
            assert run_in_child(lambda: check_child(self), fork=FORKS[how]) == 0, "the child failed; see stderr"
        finally:
            sys.settrace(tracing)
        assert self._woken() == raised, "the child has woken the parent's thread"

    def _woken(self) -> bool:
        wakeup = self.session.wakeup
        return wakeup is not None and wakeup.fileno() != -1 and wakeup.raised()  # type: ignore[attr-defined]

    # -- one in the middle of the other ------------------------------------------------------------------------------

    def perform(self, step: Step) -> None:
        """Do it, if there is anything to do it to."""
        name, arguments = step
        with contextlib.suppress(Nothing):
            getattr(self, name)(*arguments)

    def interrupted(self, step: Step, line: int, others: list[Step]) -> bool:
        """Do something, and something else at a line of it; False if it has not so many lines."""

        reached = False

        def come_between() -> None:
            nonlocal reached
            reached = self._interrupting = True
            self.lockstep.meet()
            for other in others:
                self.perform(other)

        try:
            with in_between(line, come_between, self.locks):
                self.perform(step)
        finally:
            self._interrupting = False
            self.lockstep.meet()
        return reached

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def certain(self) -> bool:
        """Whether nothing else is under way."""
        place = self.lockstep.place
        return not self._interrupting and not self._in_callback and (place is None or place.what != "line")

    def _one(self, some: int, fit: Callable[[Entry], bool] = lambda _: True) -> Entry | None:
        held = [entry for entry in self.book.entries if entry.held is not None and fit(entry)]
        return held[some % len(held)] if held else None

    @contextlib.contextmanager
    def _held(self, some: int) -> Iterator[tuple[Entry, ResultFuture]]:
        """One that is held, and not dropped meanwhile."""
        entry = self._one(some)
        if entry is None or entry.held is None:
            raise Nothing
        entry.busy += 1
        try:
            yield entry, entry.held
        finally:
            entry.busy -= 1

    def bury(self) -> bool:
        buried = super().bury()
        if buried:
            self.declared = len(self.answers)
            self._streams.clear()
        # Whoever came into the middle of that, which is a call too, was told first.
        return buried and self.session.ended is not None

    def _check_dead(self) -> None:
        """The thread had died: a call has said so, and the next one finds a session that works."""
        assert self.session.ended is None
        self.book.look(self.clock.now)
        assert not self.book.live()
        self.book = Book()
        self._streams.clear()

    def _told(self, meta: TaskMeta) -> None:
        assert meta.task_id in {entry.task_id for entry in self.book.entries} or not self.certain

    def _call_back(self, entry: Entry, callback: str) -> None:
        entry.pinned = True
        future = entry.future()
        assert future is not None
        future.add_done_callback(lambda _: self._called(entry, callback))

    def _called(self, entry: Entry, callback: str) -> None:
        entry.ended()
        if self._in_callback or (self.session.ended is not None and not self.closing):
            return
        here = self.session.on_drain_thread()
        self._in_callback = True
        try:
            if callback == "watch":
                self.watch((entry.task_id,))
            elif callback in ("cancel", "drop"):
                for number in range(len(self.book.entries)):
                    self.perform((callback, (number,)))
            elif callback == "close":
                self.close()
            elif callback == "fork":
                self.fork("fork")
        finally:
            self._in_callback = False
        if here and callback in ("raise", "exit"):
            self.book.callback_errors += 1
            raise ValueError("a callback's") if callback == "raise" else SystemExit(3)
