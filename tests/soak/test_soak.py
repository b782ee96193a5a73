"""The soak itself, short; ``make soak`` is the long one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bgresults.testing import RabbitMQServer, RedisServer
from tests.soak.driver import REDIS_ARGUMENTS, Outcome, Plan, run
from tests.soak.graph import write_graph
from tests.soak.processes import SubjectProcess, SubjectStuck
from tests.soak.report import growth, judge, report
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.rpc_lines import own_node, shared_node

pytestmark = pytest.mark.rabbitmq


def soak(plan: Plan, node: RabbitMQServer) -> Outcome:
    """Run it; nothing may be wrong."""
    with RedisServer(args=REDIS_ARGUMENTS, start_timeout=30.0) as server:
        outcome = run(plan, server, node)
    print(report(outcome))
    assert judge(outcome) == []
    return outcome


@pytest.mark.timeout(180)
def test_for_some_seconds() -> None:
    """Everything but restarts of the broker, which take longer than this."""
    plan = Plan(seconds=3, seed=20, threads=16, calm=0.2, pause=0.1, node_restarts=0, real_worker=False, expiry=False)
    outcome = soak(plan, shared_node())
    assert min(outcome.counts["redis right"], outcome.counts["rpc right"]) > 20
    assert min(sum(events.values()) for events in outcome.events.values()) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_for_two_minutes(tmp_path: Path) -> None:
    """Everything, with a seed of its own each time."""
    with own_node(start_timeout=120.0) as node:
        outcome = soak(Plan(seconds=120, seed=random.randrange(2**32)), node)
    assert outcome.counts["ids"] > 5000
    assert outcome.totals["reconnects"] > 20
    assert outcome.counts["kind worker"] > 10
    assert "memory (MiB)" in write_graph(tmp_path / "soak.svg", outcome).read_text()


@pytest.mark.slow
def test_one_that_hangs_shows_its_stacks(capfd: pytest.CaptureFixture[str]) -> None:
    """There are no servers, so its threads wait for longer than it is waited for."""
    reading, orders = os.pipe()
    urls = {"redis": f"redis://127.0.0.1:{CLOSED_PORT}/0", "rpc": f"amqp://127.0.0.1:{CLOSED_PORT}//"}
    settings = {"urls": urls, "seed": 1, "threads": 8, "pause": 0.01, "sample_every": 0.2, "real_worker": False}
    subject = SubjectProcess({**settings, "orders": orders, "limit": 60})
    try:
        wait_until(lambda: subject.samples, "it to be at work", 40)
        with pytest.raises(SubjectStuck, match="no answer to 'rest'"):
            subject.ask("rest", timeout=0.5)
    finally:
        subject.kill()
        os.close(reading)
        os.close(orders)
    assert "in _live" in capfd.readouterr().err


def test_growth_is_what_the_line_rises_by() -> None:
    assert growth([(at, 5.0) for at in range(10)]) == 0
    assert growth([(at / 2, 3.0 + at) for at in range(11)]) == pytest.approx(10)
    assert abs(growth([(at, at % 2) for at in range(101)])) < 0.1
