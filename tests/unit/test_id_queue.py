"""A queue of distinct ids that can be taken back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bgresults.consumers.redis.id_queue import IdQueue


def test_first_in_first_out() -> None:
    queue = IdQueue(["a", "b"])
    queue.add("c", True)
    assert queue.pop(2) == [("a", False), ("b", False)]
    assert queue.pop(5) == [("c", True)]
    assert queue.pop(5) == []


def test_distinct_and_the_last_flag_counts() -> None:
    queue = IdQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a", True)
    assert (len(queue), queue.flag("a"), queue.flag("b"), queue.flag("c")) == (2, True, False, False)
    assert queue.pop(9) == [("a", True), ("b", False)]


def test_taken_back() -> None:
    queue = IdQueue(["a", "b"])
    assert queue.discard("a") is True
    assert queue.discard("a") is False
    assert "a" not in queue
    assert not queue.flag("a")
    assert queue.pop(9) == [("b", False)]
    assert queue.discard("b") is False


def test_false_when_empty() -> None:
    queue = IdQueue(["a"])
    assert queue
    queue.discard("a")
    assert not queue


def test_what_was_taken_back_takes_no_room() -> None:
    queue = IdQueue(["kept"])
    for number in range(100_000):
        queue.add(f"id{number}")
        queue.discard(f"id{number}")
    assert len(queue._order) <= 100
    assert queue.pop(9) == [("kept", False)]


def test_one_id_over_and_over_takes_no_room() -> None:
    queue = IdQueue()
    for _ in range(10_000):
        queue.add("a")
        queue.discard("a")
    queue.add("a", True)
    assert len(queue._order) <= 100
    assert queue.pop(9) == [("a", True)]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "flag", "discard", "pop"]), st.sampled_from("abcdef"), st.integers(1, 3))
)


@given(OPERATIONS)
def test_against_a_dict(operations: list[tuple[str, str, int]]) -> None:
    queue, model = IdQueue(), dict[str, bool]()
    for operation, task_id, count in operations:
        if operation in {"add", "flag"}:
            queue.add(task_id, operation == "flag")
            model[task_id] = operation == "flag"
        elif operation == "discard":
            assert queue.discard(task_id) is (task_id in model)
            model.pop(task_id, None)
        else:
            taken = queue.pop(count)
            assert len(taken) == min(count, len(model))
            assert dict(taken).items() <= model.items()
            for found, _ in taken:
                del model[found]
        assert len(queue) == len(model)
        assert {task_id for task_id in "abcdef" if task_id in queue} == set(model)
    assert dict(queue.pop(99)) == model
