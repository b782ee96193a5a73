"""What callers do at each line of what the drain thread does, and the other way round: all lines, not a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.model.play import Play, Step
from tests.model.scene import OnDisconnect
from tests.model.scripted import Mood

# More lines than any turn has.
_MOST_LINES = 300

STEPS: dict[str, Step] = {
    "watch": ("watch", (("a", "b"), 30.0, None)),
    "cancel": ("cancel", (0,)),
    "drop": ("drop", (0,)),
    "finish": ("finish", (0,)),
    "call_back": ("call_back", (0, "watch")),
    "drop_stream": ("drop_stream", ()),
    "declare": ("declare", ("c",)),
}


def _cut(play: Play) -> None:
    play.server.mood = "down"
    play.server.cut()


def _deliver(play: Play) -> None:
    play.publish("a", "success")


def _deliver_garbage(play: Play) -> None:
    play.publish("a", "garbage")


def _expire(play: Play) -> None:
    play.advance(2.0)


#: What the drain thread is about to find.
EVENTS: dict[str, Callable[[Play], None]] = {
    "cut": _cut,
    "message": _deliver,
    "garbage": _deliver_garbage,
    "expiry": _expire,
}


@pytest.fixture
def play(on_disconnect: OnDisconnect) -> Iterator[Play]:
    made = Play("store", on_disconnect)
    yield made
    made.leave()


def prepare(play: Play, mood: Mood) -> None:
    """Three futures wait: one by itself, one for a short while, and one of a stream."""
    play.server.mood = "up"
    play.advance(2 * play.retry.maximum)
    play.come_to_rest()
    for number in range(len(play.book.entries)):
        play.perform(("cancel", (number,)))
    for _ in play.book.entries:
        play.drop(0)
    for _ in range(3):
        play.drop_stream()
    play.come_to_rest()
    play.check()
    play.forget("a")
    play.forget("b")
    play.watch(("a",))
    play.watch(("a",), 1.0)
    play.stream("a")
    play.come_to_rest()
    if mood == "down":
        _cut(play)
        play.come_to_rest()


def at_each_line(play: Play, mood: Mood, event: Callable[[Play], object], step: Step) -> int:
    """Do it at each line of the step that the drain thread does after that event; returns how many there were."""
    for line in range(1, _MOST_LINES):
        prepare(play, mood)
        event(play)
        play.go_on(line)
        assert play.lockstep.place is not None
        if play.lockstep.place.what != "line":
            return line - 1
        play.perform(step)
        play.come_to_rest()
        play.check()
    raise AssertionError("no end of lines")


@pytest.mark.parametrize("on_disconnect", ["wait"])
@pytest.mark.parametrize("mood", ["up", "down"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_of_a_turn(play: Play, mood: Mood, step: Step) -> None:
    """The thread looks around, finds nothing, and sleeps; whatever it is told meanwhile, it does not oversleep it."""
    assert at_each_line(play, mood, lambda play: None, step) > 10


_FEW = {("cut", "fail", "watch"), ("message", "wait", "cancel")}


@pytest.mark.parametrize(
    ("event", "on_disconnect", "step"),
    [
        pytest.param(
            EVENTS[event],
            on_disconnect,
            STEPS[step],
            id=f"{event}-{on_disconnect}-{step}",
            marks=() if (event, on_disconnect, step) in _FEW else pytest.mark.slow,
        )
        for event in EVENTS
        for on_disconnect in ("wait", "fail")
        for step in STEPS
    ],
)
def test_of_an_event(play: Play, event: Callable[[Play], None], step: Step) -> None:
    """The thread ends futures, or refuses new ones, and something comes into the middle of it."""
    assert at_each_line(play, "up", event, step) > 20


@pytest.mark.parametrize("on_disconnect", ["wait"])
@pytest.mark.parametrize("mood", ["up", "down"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_of_what_a_caller_does(play: Play, mood: Mood, step: Step) -> None:
    """The thread takes what there is before all of it is there, and goes to sleep."""
    for line in range(1, _MOST_LINES):
        prepare(play, mood)
        if not play.interrupted(step, line, [("go_on", ()), ("go_on", ())]):
            break
        play.come_to_rest()
        play.check()
    assert line > 5
