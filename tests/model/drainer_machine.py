"""A machine that does to a watcher, in any order, whatever callers, workers, servers and processes can do."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from bgresults import RetryPolicy
from bgresults.session import State
from tests.model.children import FORKS
from tests.model.play import CALLBACKS, Play, Step
from tests.model.scene import RETRY, Kind, OnDisconnect

__all__ = ["DrainerMachine"]

IDS = st.sampled_from("abc")
SOME = st.integers(0, 9)
CALLS = st.sampled_from(CALLBACKS)


def _steps(**arguments: st.SearchStrategy[tuple[Any, ...]]) -> st.SearchStrategy[Step]:
    return st.one_of([st.tuples(st.just(name), values) for name, values in arguments.items()])


WATCHES = st.tuples(
    st.lists(IDS, min_size=1, max_size=3).map(tuple), st.sampled_from([None, 1.0, 30.0]), st.none() | CALLS
)
#: What a caller does.
CALLERS = _steps(
    watch=WATCHES,
    cancel=st.tuples(SOME),
    finish=st.tuples(SOME),
    drop=st.tuples(SOME),
    call_back=st.tuples(SOME, CALLS),
    drop_stream=st.just(()),
)
#: What else may happen at any time.
OTHERS = _steps(
    publish=st.tuples(IDS, st.sampled_from(["success", "success", "failure", "progress", "garbage"])),
    forget=st.tuples(IDS),
    advance=st.tuples(st.sampled_from([0.1, 2.0, 20.0])),
    stream=st.tuples(IDS),
    declare=st.tuples(IDS),
)
LINES = st.integers(1, 80)


class DrainerMachine(RuleBasedStateMachine):
    """See the module's text.

    Args:
        kind: of backend.
        on_disconnect: of the watcher.
        retry: the same.
    """

    def __init__(self, kind: Kind, on_disconnect: OnDisconnect, retry: RetryPolicy = RETRY) -> None:
        super().__init__()
        self.play = Play(kind, on_disconnect, retry)

    @rule(arguments=WATCHES)
    def watch(self, arguments: tuple[Any, ...]) -> None:
        """Somebody watches."""
        self.play.watch(*arguments)

    @rule(step=CALLERS)
    def call(self, step: Step) -> None:
        """Somebody does something to a future."""
        self.play.perform(step)

    @rule(step=OTHERS)
    def happen(self, step: Step) -> None:
        """Something happens elsewhere."""
        self.play.perform(step)

    @rule(line=st.just(0) | LINES)
    def go_on(self, line: int) -> None:
        """The drain thread does something, to its end or to a line in between."""
        self.play.go_on(line)

    @rule(step=CALLERS, line=LINES, other=CALLERS | st.tuples(st.just("go_on"), st.just(())), times=st.integers(1, 3))
    def interrupt(self, step: Step, line: int, other: Step, times: int) -> None:
        """The drain thread, or another caller, comes into the middle of what a caller does."""
        self.play.interrupted(step, line, [other] * times)

    @rule()
    def rest(self) -> None:
        """The drain thread does all that there is to do."""
        self.play.come_to_rest()
        if self.play.lockstep.place is None and self.play.session.ended is not None:
            self.play.check_end()
            if self.play.closing:
                self.play.begin()
        else:
            self.play.check()

    @rule(mood=st.sampled_from(["up", "down", "refusing"]), cut=st.booleans())
    def server(self, mood: Any, cut: bool) -> None:
        """The server changes its mind, and connections may be lost."""
        self.play.server.mood = mood
        if cut:
            self.play.server.cut()

    @rule(what=st.sampled_from(["nothing", "nothing", "nothing", "close", "crash", *FORKS]))
    def seldom(self, what: str) -> None:
        """A watcher is closed, its thread meets a bug, or a child is forked."""
        if what == "close":
            self.play.close()
        elif what == "crash":
            self.play.crash()
        elif what in FORKS:
            self.play.fork(what)

    def teardown(self) -> None:
        try:
            # Not if something has gone wrong already.
            if sys.exc_info()[1] is None:
                check_all_ends(self.play)
        finally:
            self.play.leave()


def check_all_ends(play: Play) -> None:
    """When the server works and the workers answer, nobody is left waiting, and the watcher can be closed.

    Raises:
        AssertionError: it is not so.
    """
    play.server.mood = "up"
    for _ in range(3):
        play.advance(2 * play.retry.maximum)
        play.come_to_rest()
    if play.session.state is State.FAILED and play.session.ended is None:
        play.watch(("probe",))
        play.advance(2 * play.retry.maximum)
        play.come_to_rest()
    if play.session.ended is None:
        play.check()
        assert play.session.thread is None or play.session.state is State.DRAINING
        for entry in play.book.live():
            play.publish(entry.task_id, "success")
        play.come_to_rest()
        play.check()
        assert not play.book.live()
        play.close()
        play.come_to_rest()
    play.check_end()
