"""What the model checks have found, each by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import BackendUnavailableError, WatcherClosedError
from bgresults.session import State
from tests.model.play import Play, Step
from tests.model.scene import Kind
from tests.support.stops import LineTracer


@pytest.fixture
def play() -> Iterator[Play]:
    made = Play("store", "wait")
    yield made
    made.leave()


def lines_of(play: Play, step: Step) -> range:
    """The numbers of the lines that a step executes."""
    tracer = LineTracer()
    tracer.arm()
    with tracer.here():
        play.perform(step)
    return range(1, len(tracer.disarm()) + 1)


class TestClosing:
    def test_after_the_thread_has_died(self, play: Play) -> None:
        """The next watch() started another thread, as if nobody had closed anything."""
        play.watch(("a",))
        play.come_to_rest()
        play.crash()
        play.come_to_rest()
        assert play.lockstep.place is None
        play.watcher.close()
        assert play.watcher.closed
        with pytest.raises(WatcherClosedError):
            play.watcher.watch("b")
        with pytest.raises(WatcherClosedError):
            play.watcher.wait_ready(0)

    def test_what_the_thread_had_not_heard_of_is_counted(self, play: Play) -> None:
        """While it was connecting, and could not be told."""
        play.watch(("watched",))
        play.go_on()
        assert play.lockstep.place is not None
        assert play.lockstep.place.what == "connect"
        play.watch(("watched", "cancelled", "dropped"))
        futures = {entry.task_id: number for number, entry in enumerate(play.book.entries)}
        play.cancel(futures["cancelled"])
        play.drop(futures["dropped"])
        play.close()
        play.come_to_rest()
        play.check_end()
        stats = play.watcher.stats()
        assert (stats.watched, stats.failed, stats.cancelled, stats.dropped) == (4, 2, 1, 1)

    def test_calls_of_a_closed_watcher_leave_nothing(self, play: Play) -> None:
        """Each of them left two commands to a thread that was gone."""
        play.watch(("a",))
        play.close()
        play.come_to_rest()
        for _ in range(100):
            with pytest.raises(WatcherClosedError):
                play.watcher.watch("b")
        assert not play.session.commands
        assert play.watcher.stats().watched == 1

    def test_a_watcher_that_never_watched(self, play: Play) -> None:
        play.watcher.close()
        with pytest.raises(WatcherClosedError):
            play.watcher.watch("a")
        assert not play.session.commands
        assert play.watcher.stats().watched == 0


class TestKeptAlive:
    """A future that has ended was kept alive by its watcher for good."""

    def test_it_ends_in_the_middle_of_its_watch(self, play: Play) -> None:
        step: Step = ("watch", (("a",), None, "note"))
        for line in lines_of(play, step):
            play.come_to_rest()
            play.forget("a")
            play.watch(("a",))
            play.come_to_rest()
            play.publish("a", "success")
            play.interrupted(step, line, [("go_on", ())])
            play.come_to_rest()
            play.check()

    def test_it_is_refused_in_the_middle_of_its_watch(self) -> None:
        play = Play("store", "fail")
        try:
            step: Step = ("watch", (("a",), None, "note"))
            for line in lines_of(play, step):
                play.server.mood = "up"
                play.advance(10)
                play.come_to_rest()
                play.forget("a")
                play.server.mood = "down"
                play.server.cut()
                play.interrupted(step, line, [("go_on", ())])
                play.come_to_rest()
                play.check()
        finally:
            play.leave()

    def test_a_callback_comes_while_it_is_finished_by_hand(self, play: Play) -> None:
        play.watch(("a",))
        for line in lines_of(play, ("finish", (0,))):
            play.watch((f"a{line}",))
            play.come_to_rest()
            play.interrupted(("finish", (line,)), line, [("call_back", (line, "note"))])
            play.come_to_rest()
            play.check()


@pytest.mark.parametrize("ask", ["wait_ready", "watch"])
def test_one_question_is_enough_for_another_attempt(play: Play, ask: str) -> None:
    """The thread took the wish, and went back to sleep with what it had known before: the second one woke it."""
    play.server.mood = "refusing"
    play.watch(("a",))
    play.come_to_rest()
    assert play.session.state is State.FAILED
    play.server.mood = "up"
    play.advance(play.retry.maximum)
    if ask == "watch":
        play.watch(("a",))
    else:
        with pytest.raises(BackendUnavailableError):
            play.watcher.wait_ready(0)
    play.come_to_rest()
    assert play.watcher.wait_ready(0)


def test_a_question_to_a_dead_thread_leaves_nothing(play: Play) -> None:
    """It left a wish for another attempt to connect."""
    play.watch(("a",))
    play.come_to_rest()
    play.crash()
    play.come_to_rest()
    dead = play.session
    with pytest.raises(BackendUnavailableError, match="bug"):
        play.watcher.wait_ready(0)
    assert not dead.commands
    assert play.session is not dead


def test_a_thread_that_died_is_replaced(play: Play) -> None:
    """Once the next call has said so."""
    play.watch(("a",))
    play.come_to_rest()
    play.crash()
    play.come_to_rest()
    with pytest.raises(BackendUnavailableError, match="bug"):
        play.watcher.watch("a").result(0)
    play.book.entries.clear()
    play.watch(("a",))
    play.publish("a", "success")
    play.come_to_rest()
    assert [entry.end for entry in play.book.entries] == ["value 1"]


def test_only_one_of_two_calls_is_told_that_a_thread_died(play: Play) -> None:
    """Whichever comes first; the other one finds the session that works."""
    step: Step = ("watch", (("a",), None, None))
    # As many as the machine tries; what comes after the call is the play asking how its futures have ended.
    for line in range(1, 81):
        play.watch(("b",))
        # To be let go of when it is found that the thread has died.
        play.stream("c")
        play.come_to_rest()
        play.crash()
        play.come_to_rest()
        dead = play.session
        assert play.interrupted(step, line, [step])
        assert play.session is not dead
        play.come_to_rest()
        play.check()


@pytest.mark.parametrize("kind", ["store", "queue"])
def test_time_that_passes_at_a_line(kind: Kind) -> None:
    """The model's own: between finding out how long to wait and waiting it was not seen."""
    for line in range(1, 81):
        play = Play(kind, "wait")
        try:
            play.watch(("a",))
            play.come_to_rest()
            play.watch(("a",), 30.0)
            play.go_on(line=line)
            play.advance(30)
            play.come_to_rest()
            play.check()
        finally:
            play.leave()


def test_a_play_that_ends_at_a_line_leaves_no_thread() -> None:
    """The model's own: an example that hypothesis breaks off anywhere left the drain thread where it stood next."""
    play = Play("store", "wait")
    play.watch(("a",))
    play.come_to_rest()
    play.watch(("b",))
    play.go_on(line=3)
    assert play.lockstep.place is not None
    assert play.lockstep.place.what == "line"
    thread = play.session.thread
    play.leave()
    assert thread is not None
    assert not thread.is_alive()
