"""A queue of distinct ids that can be taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgresults.consumers.redis.id_queue import IdQueue


def test_first_in_first_out() -> None:
    queue = IdQueue(["a", "b"])
    queue.add("c")
    queue.extend(["d", "e"])
    assert queue.pop(2) == ["a", "b"]
    assert queue.pop(9) == ["c", "d", "e"]
    assert queue.pop(9) == []


def test_distinct_and_the_first_place_counts() -> None:
    queue = IdQueue(["a", "a"])
    queue.add("b")
    queue.add("a")
    queue.extend(["b", "c", "c", "a"])
    assert (len(queue), "a" in queue, "d" in queue) == (3, True, False)
    assert queue.pop(2) == ["a", "b"]
    assert queue.pop(9) == ["c"]
    assert not queue


def test_taken_back() -> None:
    queue = IdQueue(["a", "b"])
    assert queue.discard("a") is True
    assert queue.discard("a") is False
    assert "a" not in queue
    assert queue.pop(9) == ["b"]
    assert queue.discard("b") is False


def test_false_when_empty() -> None:
    queue = IdQueue(["a"])
    assert queue
    queue.discard("a")
    assert not queue


@pytest.mark.parametrize("at_once", [False, True])
def test_what_was_taken_back_takes_no_room(at_once: bool) -> None:
    queue = IdQueue(["kept"])
    for number in range(100_000):
        if at_once:
            queue.extend([f"id{number}"])
        else:
            queue.add(f"id{number}")
        queue.discard(f"id{number}")
    assert len(queue._order) <= 100
    assert queue.pop(9) == ["kept"]


def test_one_id_over_and_over_takes_no_room() -> None:
    queue = IdQueue()
    for _ in range(10_000):
        queue.add("a")
        queue.discard("a")
    queue.add("a")
    assert len(queue._order) <= 100
    assert queue.pop(9) == ["a"]


IDS = st.sampled_from("abcdef")
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "discard"]), IDS),
        st.tuples(st.just("extend"), st.lists(IDS)),
        st.tuples(st.just("pop"), st.integers(1, 3)),
    )
)


@given(OPERATIONS)
def test_against_a_set(operations: list[tuple[str, str | list[str] | int]]) -> None:
    queue, model = IdQueue(), set[str]()
    for operation, operand in operations:
        if isinstance(operand, int):
            taken = queue.pop(operand)
            assert len(taken) == len(set(taken)) == min(operand, len(model))
            assert set(taken) <= model
            model.difference_update(taken)
        elif operation == "discard":
            assert queue.discard(str(operand)) is (operand in model)
            model.discard(str(operand))
        elif operation == "add":
            queue.add(str(operand))
            model.add(str(operand))
        else:
            queue.extend(operand)
            model.update(operand)
        assert len(queue) == len(model)
        assert {task_id for task_id in "abcdef" if task_id in queue} == model
    assert set(queue.pop(99)) == model
