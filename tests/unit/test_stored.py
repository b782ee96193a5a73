"""Which stored values are read, how many at a time, and which of them are news."""

from __future__ import annotations

import pytest

from bgresults.consumers.redis.stored import ANSWER_BYTES, IN_FLIGHT, MAX_CHUNK, Read, StoredReads


def ids(count: int, name: str = "id") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def answer(reads: StoredReads, size: int = 0) -> Read:
    """Send one MGET, or take the one that was sent, and answer it with values of that size."""
    if not reads.in_flight:
        assert reads.next_read() is not None
    oldest = reads._in_flight[0]
    return reads.answered([b"x" * size if size else None for _ in oldest.ids])


def sent(reads: StoredReads) -> Read:
    """The next MGET."""
    read = reads.next_read()
    assert read is not None
    return read


def test_nothing_to_read() -> None:
    assert StoredReads().next_read() is None


def test_in_order_and_few_at_a_time() -> None:
    reads = StoredReads()
    reads.want(ids(5000))
    sent = []
    while (read := reads.next_read()) is not None:
        sent.append(read)
    assert len(sent) == reads.in_flight == IN_FLIGHT == 2
    assert [task_id for read in sent for task_id in read.ids] == ids(sum(len(read.ids) for read in sent))
    assert reads.answered([None] * len(sent[0].ids)) is sent[0]
    assert reads.next_read() is not None
    assert reads.next_read() is None


def test_everything_is_read_once() -> None:
    reads, seen = StoredReads(), list[str]()
    reads.want(ids(5000))
    while reads.next_read() is not None or reads.in_flight:
        seen += answer(reads).ids
    assert sorted(seen) == sorted(ids(5000))


def test_small_answers_make_large_commands() -> None:
    reads = StoredReads()
    reads.want(ids(20_000))
    sizes = [len(answer(reads, 200).ids) for _ in range(8)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == MAX_CHUNK <= 1000


@pytest.mark.parametrize("size", [ANSWER_BYTES // 8, ANSWER_BYTES // 2, ANSWER_BYTES, 2 * ANSWER_BYTES])
def test_large_answers_make_small_commands(size: int) -> None:
    reads = StoredReads()
    reads.want(ids(100))
    answer(reads, size)
    following = len(answer(reads, size).ids)
    assert following * size <= ANSWER_BYTES or following == 1


def test_commands_grow_again() -> None:
    reads = StoredReads()
    reads.want(ids(5000))
    answer(reads, ANSWER_BYTES)
    assert len(answer(reads, 10).ids) == 1
    assert len([answer(reads, 10) for _ in range(8)][-1].ids) == MAX_CHUNK


def test_what_was_learnt_survives_a_reconnect() -> None:
    reads = StoredReads()
    reads.want(ids(100))
    answer(reads, ANSWER_BYTES)
    reads.restart()
    reads.want(ids(100), resync=True)
    assert len(answer(reads).ids) == 1


def test_resync_goes_first() -> None:
    reads = StoredReads()
    reads.want(["new"])
    reads.want(["old"], resync=True)
    assert reads.resyncing()
    first, second = reads.next_read(), reads.next_read()
    assert first is not None
    assert second is not None
    assert (first.ids, first.resync, second.ids, second.resync) == (["old"], True, ["new"], False)
    assert reads.resyncing()
    reads.answered([None])
    assert not reads.resyncing()


def test_cancelled_before_it_was_sent() -> None:
    reads = StoredReads()
    reads.want(["a", "b"])
    reads.cancel(["a", "unknown"])
    read = reads.next_read()
    assert read is not None
    assert read.ids == ["b"]


def test_restart_forgets_what_was_on_its_way() -> None:
    reads = StoredReads()
    reads.want(["a", "b"])
    reads.next_read()
    reads.want(["c"], resync=True)
    reads.restart()
    assert (reads.in_flight, reads.next_read(), reads.resyncing()) == (0, None, False)


class TestNews:
    """A stored state and a message may say the same, and may cross."""

    @pytest.fixture
    def reads(self) -> StoredReads:
        made = StoredReads()
        made.want(["a"])
        return made

    @pytest.fixture
    def read(self, reads: StoredReads) -> Read:
        return sent(reads)

    def test_a_message_without_a_read(self) -> None:
        assert StoredReads().is_news("a", b"1")

    def test_a_stored_state_and_nothing_else(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_current(read, "a", b"1")

    def test_a_message_first(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_news("a", b"2")
        assert not reads.is_current(read, "a", b"1"), "the message is newer, or the same"

    def test_the_same_message_after(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_current(read, "a", b"1")
        assert not reads.is_news("a", b"1")
        assert reads.is_news("a", b"1"), "only once: a task may report the same again"

    def test_another_message_after(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_current(read, "a", b"1")
        assert reads.is_news("a", b"2")
        assert reads.is_news("a", b"1"), "something else came in between"

    def test_ids_do_not_mix(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_current(read, "a", b"1")
        assert reads.is_news("b", b"1")

    def test_cancelled_and_wanted_again(self, reads: StoredReads, read: Read) -> None:
        assert reads.is_current(read, "a", b"1")
        reads.cancel(["a"])
        reads.want(["a"])
        assert reads.is_news("a", b"1")

    def test_a_message_before_it_was_sent(self, reads: StoredReads) -> None:
        assert reads.is_news("a", b"2")
        assert not reads.is_current(sent(reads), "a", b"2")

    def test_two_reads_of_one_id(self, reads: StoredReads, read: Read) -> None:
        """Watched twice. The second answer is on its way while the first is told, and is older than the message."""
        reads.want(["a"])
        second = sent(reads)
        assert reads.answered([b"1"]) is read
        assert reads.is_current(read, "a", b"1")
        reads.handled()
        assert reads.is_news("a", b"2")
        assert reads.answered([b"1"]) is second
        assert not reads.is_current(second, "a", b"1")

    def test_two_reads_that_are_answered_together(self, reads: StoredReads, read: Read) -> None:
        reads.want(["a"])
        second = sent(reads)
        reads.answered([b"1"])
        reads.answered([b"1"])
        assert reads.is_news("a", b"2")
        assert not reads.is_current(read, "a", b"1")
        assert not reads.is_current(second, "a", b"1")

    def test_two_reads_and_a_cancel_between(self, reads: StoredReads, read: Read) -> None:
        reads.cancel(["a"])
        reads.want(["a"])
        second = sent(reads)
        reads.answered([b"1"])
        assert reads.is_current(read, "a", b"1")
        reads.handled()
        assert reads.is_news("a", b"2")
        reads.answered([b"1"])
        assert not reads.is_current(second, "a", b"1")

    def test_wanted_once_more_after_a_message(self, reads: StoredReads, read: Read) -> None:
        """Whoever has asked later was not told by that message."""
        assert reads.is_news("a", b"2")
        reads.want(["a"])
        second = sent(reads)
        reads.answered([b"1"])
        assert not reads.is_current(read, "a", b"1")
        reads.answered([b"2"])
        assert reads.is_current(second, "a", b"2")

    def test_in_both_queues(self, reads: StoredReads) -> None:
        reads.want(["a"], resync=True)
        first = sent(reads)
        assert first.resync
        assert reads.is_news("a", b"2")
        assert not reads.is_current(first, "a", b"2")
        second = sent(reads)
        assert not reads.is_current(second, "a", b"2")
        reads.want(["a"])
        reads.forget("a")
        assert reads.next_read() is None

    def test_what_ended_takes_no_room(self) -> None:
        reads = StoredReads()
        for number in range(1000):
            task_id = f"id{number}"
            reads.want([task_id])
            if number % 3:
                reads.is_news(task_id, b"1")
            read = answer(reads)
            if number % 2:
                reads.is_current(read, task_id, b"1")
                reads.cancel([task_id])
            reads.handled()
        assert (reads._awaited, reads._heard, reads._told, reads._unhandled) == (set(), set(), {}, [])
        assert len(reads._queued) == 0
