"""Replies that nobody watches yet: what is kept, in which order, for how long, and what is counted."""

from __future__ import annotations

import pytest

from bgresults.consumers.rpc import unclaimed
from bgresults.consumers.rpc.unclaimed import Reply, UnclaimedReplies
from bgresults.stats import Counters

PLENTY = 10**9


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(unclaimed, "time", made)
    return made


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def replies(counters: Counters) -> UnclaimedReplies:
    return room(counters)


def room(
    counters: Counters, most: int = PLENTY, most_bytes: int = PLENTY, most_seconds: float = 600.0
) -> UnclaimedReplies:
    return UnclaimedReplies(most, most_bytes, most_seconds, counters)


def reply(body: str = "", *, final: bool = True, seen: bool = False) -> Reply:
    return Reply(body.encode(), "application/json", "utf-8", None, final=final, seen=seen)


def bodies(claimed: list[Reply]) -> list[str]:
    return [item.body.decode() for item in claimed]


class TestClaiming:
    def test_nothing_is_there(self, replies: UnclaimedReplies) -> None:
        assert "a" not in replies
        assert not replies.ended("a")
        assert replies.claim("a") == []

    def test_states_come_in_the_order_in_which_they_were_kept(self, replies: UnclaimedReplies) -> None:
        for number in range(3):
            replies.keep("a", reply(f"a{number}", final=False))
            replies.keep("b", reply(f"b{number}", final=False))
        replies.keep("a", reply("end of a"))
        assert bodies(replies.claim("a")) == ["a0", "a1", "a2", "end of a"]
        assert bodies(replies.claim("b")) == ["b0", "b1", "b2"]

    def test_it_has_ended_when_its_last_reply_is_final(self, replies: UnclaimedReplies) -> None:
        replies.keep("a", reply(final=False))
        assert not replies.ended("a")
        replies.keep("a", reply())
        assert replies.ended("a")

    def test_a_final_reply_stays_for_the_next_one_who_asks(self, replies: UnclaimedReplies) -> None:
        replies.keep("a", reply("1", final=False))
        replies.keep("a", reply("2"))
        assert bodies(replies.claim("a")) == ["1", "2"]
        assert bodies(replies.claim("a")) == ["2"]
        assert replies.ended("a")
        assert len(replies) == 1

    def test_states_of_a_task_that_goes_on_do_not_stay(self, replies: UnclaimedReplies) -> None:
        replies.keep("a", reply("1", final=False))
        assert bodies(replies.claim("a")) == ["1"]
        assert "a" not in replies
        assert len(replies) == 0

    def test_a_final_reply_that_was_seen_stands_alone(self, replies: UnclaimedReplies) -> None:
        """Whoever watched has seen the states before it, and a second watch only needs the end."""
        replies.keep("a", reply("1", final=False))
        replies.keep("a", reply("2", seen=True))
        assert bodies(replies.claim("a")) == ["2"]

    def test_a_later_end_takes_the_place_of_an_earlier_one(self, replies: UnclaimedReplies) -> None:
        """A task that failed may be delivered to a worker again, and succeed."""
        replies.keep("a", reply("failed"))
        replies.keep("a", reply("succeeded"))
        assert bodies(replies.claim("a")) == ["succeeded"]
        assert len(replies) == 1


class TestSentOnceMore:
    def test_what_is_here_is_not_its_result(self, replies: UnclaimedReplies) -> None:
        replies.keep("a", reply("first"))
        replies.supersede("a")
        assert "a" not in replies
        assert not replies.ended("a")
        assert replies.only_success("a") is None

    @pytest.mark.parametrize("final", [True, False])
    def test_what_comes_next_is(self, replies: UnclaimedReplies, final: bool) -> None:
        replies.keep("a", reply("1"))
        replies.supersede("a")
        replies.keep("a", reply("2", final=final))
        assert len(replies) == 1
        assert replies.ended("a") == final
        assert bodies(replies.claim("a")) == ["2"]

    def test_nothing_is_here(self, replies: UnclaimedReplies) -> None:
        replies.supersede("a")
        replies.keep("a", reply("1"))
        assert bodies(replies.claim("a")) == ["1"]

    def test_room(self, counters: Counters) -> None:
        replies = room(counters, most=1)
        replies.keep("a", reply())
        replies.supersede("a")
        assert len(replies) == 1
        replies.keep("b", reply())
        assert len(replies) == 1


class TestBounds:
    def test_count(self, counters: Counters) -> None:
        replies = room(counters, most=3)
        for name in "abcd":
            replies.keep(name, reply(name))
        assert len(replies) == 3
        assert [name for name in "abcd" if name in replies] == ["b", "c", "d"]
        assert counters.evicted == 1

    def test_nothing_at_all(self, counters: Counters) -> None:
        replies = room(counters, most=0)
        replies.keep("a", reply())
        assert "a" not in replies
        assert (len(replies), counters.buffered, counters.evicted) == (0, 1, 1)

    def test_all_states_of_the_oldest_task_go_at_once(self, counters: Counters) -> None:
        """A task's states without their beginning would tell a story that did not happen."""
        replies = room(counters, most=3)
        for number in range(3):
            replies.keep("a", reply(str(number), final=False))
        replies.keep("b", reply())
        assert "a" not in replies
        assert "b" in replies
        assert (len(replies), counters.evicted) == (1, 3)

    def test_the_oldest_task_is_the_one_that_was_silent_for_longest(self, counters: Counters) -> None:
        replies = room(counters, most=3)
        for name in "aba":
            replies.keep(name, reply(final=False))
        replies.keep("c", reply())
        assert [name for name in "abc" if name in replies] == ["a", "c"]

    def test_bytes(self, counters: Counters) -> None:
        replies = room(counters, most_bytes=10_000)
        for name in "abcd":
            replies.keep(name, reply("x" * 3000))
        assert [name for name in "abcd" if name in replies] == ["b", "c", "d"]
        replies.keep("large", reply("x" * 20_000))
        assert len(replies) == 0
        assert counters.evicted == 5
        # What went has made room.
        for name in "efg":
            replies.keep(name, reply("x" * 3000))
        assert len(replies) == 3

    def test_empty_bodies_take_room_too(self, counters: Counters) -> None:
        replies = room(counters, most_bytes=10_000)
        for number in range(1000):
            replies.keep(str(number), reply())
        assert 0 < len(replies) < 100

    def test_age(self, counters: Counters, clock: Clock) -> None:
        replies = room(counters, most_seconds=10)
        replies.keep("a", reply())
        clock.now += 6
        replies.keep("b", reply())
        clock.now += 5
        replies.keep("c", reply())
        assert [name for name in "abc" if name in replies] == ["b", "c"]
        assert counters.evicted == 1

    def test_a_new_state_makes_a_task_young_again(self, counters: Counters, clock: Clock) -> None:
        replies = room(counters, most_seconds=10)
        for number in range(5):
            replies.keep("a", reply(str(number), final=False))
            clock.now += 6
        assert bodies(replies.claim("a")) == ["0", "1", "2", "3", "4"]

    def test_a_chatty_task_keeps_its_latest_states(self, counters: Counters) -> None:
        replies = room(counters)
        replies.keep("other", reply("other"))
        for number in range(1000):
            replies.keep("a", reply(str(number), final=False))
        kept = bodies(replies.claim("a"))
        assert kept == [str(number) for number in range(1000 - len(kept), 1000)]
        assert 10 <= len(kept) <= 100
        assert counters.evicted == 1000 - len(kept)
        assert bodies(replies.claim("other")) == ["other"]

    def test_claiming_makes_room(self, counters: Counters) -> None:
        replies = room(counters, most=2)
        replies.keep("a", reply(final=False))
        replies.keep("b", reply(final=False))
        replies.claim("a")
        replies.keep("c", reply(final=False))
        assert [name for name in "abc" if name in replies] == ["b", "c"]
        assert counters.evicted == 0


class TestCounters:
    def test_what_nobody_had_seen_is_buffered_and_evicted(self, counters: Counters) -> None:
        replies = room(counters, most=1)
        replies.keep("a", reply())
        replies.keep("b", reply())
        assert (counters.buffered, counters.evicted) == (2, 1)

    def test_what_was_delivered_is_neither(self, counters: Counters) -> None:
        replies = room(counters, most=1)
        replies.keep("a", reply(seen=True))
        replies.keep("b", reply(seen=True))
        assert (counters.buffered, counters.evicted) == (0, 0)

    def test_what_was_claimed_is_not_lost_when_it_goes(self, counters: Counters) -> None:
        replies = room(counters, most=1)
        replies.keep("a", reply())
        replies.claim("a")
        replies.keep("b", reply())
        assert (counters.buffered, counters.evicted) == (2, 0)
