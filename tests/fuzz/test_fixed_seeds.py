"""A few hundred cases of each serializer, the same ones in every run; ``make fuzz`` has as many as one likes.

Those of pickle go through a process of their own: a broken pickle may ask for all the memory there is.
"""

from __future__ import annotations

from collections import Counter

import pytest

from bgresults.testing import RedisServer
from tests.fuzz import __main__ as command
from tests.fuzz import hostile, stages
from tests.fuzz.cases import SERIALIZERS, Case, make_case
from tests.fuzz.live import through_a_broker, through_a_redis, through_a_scripted_redis
from tests.fuzz.stages import Stage
from tests.fuzz.verdicts import Defect, Reader
from tests.support.results import ResultWriter

SEED = 1
OUTCOMES = {"failed", "open", "refused", "resolved"}
HARMLESS = [serializer for serializer in SERIALIZERS if serializer != "pickle"]


@pytest.mark.parametrize("serializer", HARMLESS)
def test_the_decoder(serializer: str) -> None:
    reader = Reader(serializer)
    outcomes: Counter[str] = Counter()
    for number in range(150 if serializer == "yaml" else 600):
        case = make_case(SEED, serializer, number, sent=number % 2 == 1)
        outcomes[reader.checked_verdict(case)] += 1
    assert set(outcomes) == OUTCOMES


@pytest.mark.parametrize("serializer", HARMLESS)
def test_a_watcher_on_a_scripted_connection(serializer: str) -> None:
    outcomes = through_a_scripted_redis(serializer, SEED, range(100 if serializer == "yaml" else 300))
    assert set(outcomes) == OUTCOMES


def test_a_watcher_on_a_server(redis_server: RedisServer, key_prefix: str) -> None:
    writer = ResultWriter(redis_server, key_prefix)
    outcomes = through_a_redis(redis_server.url(), writer, "json", SEED, range(200))
    assert set(outcomes) == OUTCOMES
    writer.close()


@pytest.mark.rabbitmq
def test_a_watcher_on_a_broker(rabbitmq_url: str) -> None:
    assert set(through_a_broker(rabbitmq_url, "json", SEED, range(200))) == OUTCOMES


def test_pickles() -> None:
    report = stages.run(Stage("scripted connection", "pickle", SEED, 200))
    assert report.defect is None
    assert set(report.outcomes) == OUTCOMES


class TestTheFuzzing:
    """It finds what there is to find."""

    def test_a_case_is_the_same_each_time(self) -> None:
        for serializer in SERIALIZERS:
            for sent in (False, True):
                cases = [make_case(7, serializer, number, sent=sent) for number in range(50)]
                assert cases == [make_case(7, serializer, number, sent=sent) for number in range(50)]
                assert len({case.body for case in cases}) > 40

    def test_a_defect_is_shown_with_its_case(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def raising(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("bgresults.meta._checked", raising)
        monkeypatch.setattr("bgresults.meta._reason", raising)
        assert command._show(SEED, "msgpack", 3, sent=False) == 1
        told = capsys.readouterr().out
        assert told.startswith("case 3 of serializer msgpack, seed 1: ")
        assert "DEFECT the decoder raised ZeroDivisionError" in told

    def test_what_is_called_is_a_defect(self) -> None:
        reader = Reader("json")
        case = Case(SEED, "json", 0, "t", b'{"status": "SUCCESS", "task_id": "t"}')
        assert reader.checked_verdict(case) == "resolved"
        hostile.detonate("by a message")
        with pytest.raises(Defect, match="by a message"):
            reader.checked_verdict(case)
        assert not hostile.detonations

    def test_a_stage_that_hangs_is_ended(self) -> None:
        report = stages.run(Stage("decoder", "yaml", SEED, 10**6, patience=0.001))
        assert report.defect is not None
        assert report.defect.startswith("it hangs in cases 0 to 999 of serializer yaml, seed 1")
