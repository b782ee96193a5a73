"""The arithmetic of the benchmark harness, and what it says of known figures."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Sequence
from functools import partial
from multiprocessing import resource_tracker
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from kombu import pools
from kombu.connection import Connection

from bgresults.benchmarking import contenders, many
from bgresults.benchmarking.arithmetic import bound, percentile, ratios, summarise
from bgresults.benchmarking.broker_lab import delete_queues, find_broker
from bgresults.benchmarking.checks import AtMost, AtMostTimes, Exactly, Growth, NeverAbove, Ratio
from bgresults.benchmarking.contenders import OURS, PATIENCE, until_none_is_missed
from bgresults.benchmarking.lab import AnyLab, Lab
from bgresults.benchmarking.pace import CALM, lowest_pace
from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.reply_contenders import ReplyContender, celery_modes, reply_contenders
from bgresults.benchmarking.senders import Address, AMQPAddress, RedisAddress
from bgresults.benchmarking.streams import warm
from bgresults.benchmarking.wire import ANSWER_SIZE, new_ids, payload, transaction
from bgresults.meta import Decoder
from bgresults.testing.servers import LOOPBACK, RedisServer, free_port

# kombu and Celery have no types of their own.
_Connection: Any = Connection
_Celery: Any = Celery
_pools: Any = pools
_Request: Any = Context

RECORDS = {
    "p50": {"celery": [10.0, 12.0, 11.0], "celery shared": [9.0, 8.0, 30.0], "bgresults": [2.0, 2.0, 3.0]},
    "count": {"bgresults": [2.0, 2.0, 2.0]},
}


@pytest.fixture(scope="module", autouse=True)
def _resource_tracker() -> None:
    """The first spawned process starts it, for the whole session: in a test, it would look like a leak of that test."""
    resource_tracker.ensure_running()


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (50.5, 51.0), (99, 99.0), (99.5, 100.0), (100, 100.0)]
)
def test_a_percentile_is_a_value_that_occurred(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_the_percentile_of_a_single_value_is_that_value() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


@pytest.mark.parametrize("share", [-1, 101])
def test_a_percentile_beyond_the_ends_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 100"):
        percentile([1.0], share)


def test_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
    with pytest.raises(ValueError, match="nothing"):
        summarise([])
    with pytest.raises(ValueError, match="nothing"):
        bound([], lower=True)


def test_a_summary() -> None:
    found = summarise([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.median, found.low, found.high, found.iqr) == (3.0, 1.0, 5.0, 2.0)
    assert summarise([4.0]).iqr == 0.0


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([10.0, 30.0], [2.0, 3.0]) == [5.0, 10.0]
    with pytest.raises(ValueError, match="argument"):
        ratios([1.0], [1.0, 2.0])


def test_the_baseline_is_the_better_median() -> None:
    verdict = Ratio("p50", ("celery", "celery shared"), floor=4, goal=6).judge(RECORDS)
    # celery shared: medians 9 against 11; its rounds: 4.5, 4, 10.
    assert (verdict.value.median, verdict.value.low, verdict.value.high) == (4.5, 4.0, 10.0)
    assert "celery shared" in verdict.text
    assert (verdict.bound, verdict.floor_holds, verdict.goal_holds, verdict.word) == (4.0, True, False, "floor")


@pytest.mark.parametrize(
    ("floor", "goal", "word"), [(4, 4, "goal"), (4, 4.1, "floor"), (4.1, 5, "NOT CERTAIN"), (4.6, 5, "BELOW THE FLOOR")]
)
def test_a_ratio_is_judged_by_the_bound_of_its_median(floor: float, goal: float, word: str) -> None:
    assert Ratio("p50", ("celery shared",), floor=floor, goal=goal).judge(RECORDS).word == word


@pytest.mark.parametrize(
    ("floor", "goal", "word"),
    [(3, 3, "goal"), (3, 2, "floor"), (3, None, "floor"), (2.5, 1, "NOT CERTAIN"), (1.9, 1, "BELOW THE FLOOR")],
)
def test_a_limit_is_judged_by_the_bound_of_the_median(floor: float, goal: float | None, word: str) -> None:
    assert AtMost("p50", floor=floor, goal=goal, unit="ms").judge(RECORDS).word == word


def test_ours_may_take_a_few_times_what_the_limit_takes() -> None:
    records = {"all": {"limit": [1.0, 2.0, 1.0], "bgresults": [2.0, 3.0, 1.5]}}
    assert AtMostTimes("all", "limit", floor=2, goal=1.5).judge(records).word == "floor"
    assert AtMostTimes("all", "limit", floor=1.9, goal=1.5).judge(records).word == "NOT CERTAIN"


def test_growth_is_from_the_cheapest_of_the_smaller_numbers() -> None:
    records = {"1": {"bgresults": [9.0, 9.0]}, "10": {"bgresults": [2.0, 3.0]}, "100": {"bgresults": [3.0, 3.0]}}
    verdict = Growth("100", ("1", "10"), floor=1.5, goal=1.1).judge(records)
    assert (verdict.rounds, verdict.word) == ([1.5, 1.0], "floor")


@pytest.mark.parametrize(
    ("rounds", "lower", "upper"), [(1, 1, 1), (3, 1, 3), (5, 1, 5), (7, 1, 7), (8, 2, 7), (11, 3, 9), (20, 6, 15)]
)
def test_the_bound_is_as_far_in_as_the_number_of_rounds_allows(rounds: int, lower: float, upper: float) -> None:
    values = [float(value) for value in range(rounds, 0, -1)]
    assert (bound(values, lower=True), bound(values, lower=False)) == (lower, upper)


def test_one_disturbed_round_of_eight_does_not_count() -> None:
    records = {"all": {"bgresults": [1.0] * 7 + [50.0]}}
    assert AtMost("all", floor=1, goal=1).judge(records).word == "goal"


def test_of_a_rate_the_baseline_is_the_higher_one() -> None:
    verdict = Ratio("p50", ("celery", "celery shared"), floor=0.2, goal=0.3, more_is_better=True).judge(RECORDS)
    # celery: medians 11 against 9; its rounds: 0.2, 0.167, 0.273.
    assert (verdict.value.median, verdict.word, verdict.more_is_better) == (0.2, "NOT CERTAIN", True)
    assert verdict.what == "p50: bgresults / Celery"


def test_counts_are_judged_by_every_round() -> None:
    assert Exactly("count", 2).judge(RECORDS).word == "floor"
    assert not Exactly("count", 3).judge(RECORDS).floor_holds
    assert not Exactly("p50", 2).judge(RECORDS).floor_holds, "the median is 2, one round is not"
    assert NeverAbove("p50", 3).judge(RECORDS).floor_holds
    assert not NeverAbove("p50", 2).judge(RECORDS).floor_holds


class _Missing:
    """Misses a result in its first measurements."""

    def __init__(self, times: int) -> None:
        self.name = "missing"
        self.missed = self.measured = 0
        self.queues: Sequence[str] = ()
        self._times = times

    def wait_one(self, task_id: str) -> Any:
        """Nobody waits here."""

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        return []

    def close(self) -> None:
        """Nothing to let go of."""

    def measure(self) -> int:
        self.measured += 1
        self.missed += self.measured <= self._times
        return self.measured


def test_what_was_measured_while_a_result_was_missed_does_not_count() -> None:
    contender, notes = _Missing(2), list[str]()
    assert until_none_is_missed(contender, contender.measure, notes.append) == 3
    assert len(notes) == 2
    assert until_none_is_missed(contender, contender.measure, notes.append) == 4, "what was missed before is forgotten"


def test_a_way_that_misses_results_every_time_cannot_be_measured() -> None:
    contender = _Missing(100)
    with pytest.raises(RuntimeError, match="missed results in each of 5 measurements"):
        until_none_is_missed(contender, contender.measure, lambda _: None)


@pytest.mark.parametrize(("seconds", "missed"), [(PATIENCE - 1, 0), (PATIENCE + 1, 1)])
def test_a_get_that_lasts_longer_than_it_was_told_to_counts_as_missed(
    monkeypatch: pytest.MonkeyPatch, seconds: float, missed: int
) -> None:
    clock = itertools.count(0, seconds)
    monkeypatch.setattr(contenders, "time", SimpleNamespace(monotonic=partial(next, clock)))
    theirs = contenders.Theirs("redis://127.0.0.1:1/0", shared=False)
    monkeypatch.setattr(theirs, "app", SimpleNamespace(AsyncResult=lambda _: SimpleNamespace(get=lambda timeout: 42)))
    assert theirs.wait_one("an-id") == 42
    assert theirs.missed == missed


@pytest.mark.parametrize(("taken", "counts", "left"), [([0.3, 0.9, 0.2, 0.1], 0.3, 1), ([2.0, 0.1, 0.1], 2.0, 2)])
def test_of_three_short_measurements_the_middle_one_counts(taken: list[float], counts: float, left: int) -> None:
    batches = iter([many.Batch(seconds, 0.0, 0.0) for seconds in taken])
    assert many._usual(partial(next, batches)).seconds == counts
    assert len(list(batches)) == left


def test_every_contender_is_first_equally_often() -> None:
    orders = [Lab.in_turn(["a", "b", "c"], number) for number in range(3)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_the_pace_is_the_first_at_which_all_are_slower() -> None:
    knees = {"early": 450.0, "late": 900.0}
    asked: list[tuple[str, float]] = []

    def slowness(way: str, rate: float) -> float:
        asked.append((way, rate))
        return 3.0 if rate > knees[way] else 1.0

    assert lowest_pace(list(knees), slowness, 2.0) == 977
    assert asked[:1] == [("early", CALM)]
    assert max(rate for _, rate in asked) == 977


def test_a_machine_that_is_never_slower_ends_the_search() -> None:
    assert lowest_pace(["fast"], lambda _way, _rate: 1.0, 2.0) >= 20_000


@pytest.mark.parametrize("size", [200, 4096])
def test_a_payload_has_the_size_that_is_asked_for(size: int) -> None:
    task_id = "5c1f3f0e-41a5-4a83-9d8d-7a8a2cf0a3a1"
    body = payload(task_id, size)
    assert abs(len(body) - size) <= 4
    raw = Decoder("json").decode_for(task_id, body)
    assert (raw["status"], raw["task_id"]) == ("SUCCESS", task_id)


def test_a_transaction_is_what_a_worker_sends() -> None:
    words = transaction("an-id", 200).split(b"\r\n")
    assert [word for word in words if word in (b"MULTI", b"SETEX", b"PUBLISH", b"EXEC")] == [
        b"MULTI",
        b"SETEX",
        b"PUBLISH",
        b"EXEC",
    ]
    assert words.count(b"celery-task-meta-an-id") == 2
    assert ANSWER_SIZE == 36


def test_the_publisher_sends_what_is_asked_for_and_says_when(redis_server: RedisServer) -> None:
    task_ids = [str(uuid.uuid4()) for _ in range(500)]
    with Publisher(RedisAddress(LOOPBACK, redis_server.port)) as publisher:
        publisher.prepare(task_ids, 4096)
        publisher.flood()
        times = publisher.sent()
        assert len(times) == 500
        assert times == sorted(times)
        with redis_server.client() as client:
            for task_id in (task_ids[0], task_ids[-1]):
                stored = client.get(f"celery-task-meta-{task_id}")
                assert isinstance(stored, bytes)
                assert Decoder("json").decode_for(task_id, stored)["status"] == "SUCCESS"
            client.delete(*(f"celery-task-meta-{task_id}" for task_id in task_ids))
            publisher.prepare(task_ids[:3], 200)
            publisher.obey()
            for place in (2, 0, 1):
                publisher.request(place)
            first, second, third = publisher.sent()
            assert third < first < second
            assert client.delete(*(f"celery-task-meta-{task_id}" for task_id in task_ids)) == 3


def test_a_publisher_without_a_server_says_so() -> None:
    address: Address = RedisAddress(LOOPBACK, free_port())
    with pytest.raises(RuntimeError, match="the publisher did not reach its server"):
        Publisher(address)


def test_a_reply_is_what_a_worker_sends(rabbitmq_url: str) -> None:
    queue, task_id = f"bgresults.test.{uuid.uuid4().hex}", str(uuid.uuid4())
    app = _Celery("a-worker", broker=rabbitmq_url, backend="rpc://", set_as_current=False)
    with _Connection(rabbitmq_url) as connection, Publisher(AMQPAddress(rabbitmq_url)) as publisher:
        channel = connection.channel()
        channel.queue_declare(queue=queue, durable=True, auto_delete=False, arguments={"x-expires": 60_000})
        try:
            app.backend.store_result(
                task_id, "r", "SUCCESS", request=_Request(reply_to=queue, correlation_id=task_id, children=[])
            )
            publisher.prepare([task_id, task_id], 4096, [queue])
            publisher.flood()
            publisher.sent()
            theirs, *ours = [channel.basic_get(queue, no_ack=True) for _ in range(3)]
            for message in ours:
                assert message.properties == theirs.properties
                assert message.delivery_info["exchange"] == theirs.delivery_info["exchange"] == ""
                body = json.loads(message.body)
                # Celery 5.4 says no date.
                assert body.keys() - json.loads(theirs.body).keys() <= {"date_done"}
                assert json.loads(theirs.body).keys() <= body.keys()
                assert (body["task_id"], body["status"]) == (task_id, "SUCCESS")
                assert abs(len(message.body) - 4096) <= 4
        finally:
            app.close()
            # Which stay open otherwise.
            _pools.reset()
            delete_queues(rabbitmq_url, [queue])


def _wait_for(contender: ReplyContender, publisher: Publisher, task_ids: list[str], number: int) -> Any:
    return contender.wait_for(task_ids[number], partial(publisher.request, number))


@pytest.mark.parametrize("threads", [1, 3])
def test_both_sides_get_replies_in_all_their_threads_and_leave_no_queue(rabbitmq_url: str, threads: int) -> None:
    assert find_broker() is None
    notes: list[str] = []
    with Publisher(AMQPAddress(rabbitmq_url)) as publisher:
        lab = AnyLab(publisher, rounds=1, most=1, settled=lambda _: True, quick=True, say=notes.append)
        with reply_contenders(rabbitmq_url, threads, notes.append) as contenders:
            assert [contender.name for contender in contenders] == [*celery_modes(threads), OURS]
            queues = {queue for contender in contenders for queue in contender.queues}
            for contender in contenders:
                warm(lab, contender, contender.team)
                publisher.prepare(ids := new_ids(threads), 200, contender.queues)
                publisher.obey()
                values = contender.team.run(partial(_wait_for, contender, publisher, ids))
                publisher.sent()
                assert [set(value) for value in values] == [{"r"}] * threads
                assert contender.missed == 0
    # One for each of Celery's threads, and one for all of ours.
    assert len(queues) == len(celery_modes(threads)) * threads + 1
    with _Connection(rabbitmq_url) as connection:
        for queue in queues:
            with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
                connection.channel().queue_declare(queue=queue, passive=True)
