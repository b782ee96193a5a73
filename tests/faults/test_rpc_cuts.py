"""Connections that are cut again and again under load: not one reply is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import wait_until
from tests.support.gates import drain_thread_held
from tests.support.results import new_ids
from tests.support.rpc_lines import RECOVERED, Line, line_to, shared_node
from tests.support.rpc_load import IDS_OF_LOAD, Load

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(900)]

UNACKNOWLEDGED = 40
WHILE_AWAY = 40


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    with line_to(shared_node(), caplog) as made:
        yield made


def cut(line: Line, number: int) -> None:
    """By the network and by an administrator in turn."""
    if number % 2:
        assert line.proxy.reset() == 1
    else:
        assert line.node.close_connections("bgresults") == 1


@pytest.mark.parametrize("cuts", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_cuts_under_load(line: Line, cuts: int) -> None:
    """Some replies are delivered and not acknowledged at each cut, others are sent while nobody is there."""
    futures = 0
    with line.watcher(heartbeat=10) as watcher:
        line.consumed(watcher)
        with Load(watcher, line.node.url(), pause=0.02) as load:
            for number in range(1, cuts + 1):
                unacknowledged = watcher.watch_many(new_ids(UNACKNOWLEDGED))
                away = watcher.watch_many(new_ids(WHILE_AWAY))
                with drain_thread_held(watcher):
                    passed = line.proxy.passed("to_client")
                    line.writer.write_all(watcher.reply_to, [future.task_id for future in unacknowledged])
                    wait_until(lambda passed=passed: line.proxy.passed("to_client") > passed, "deliveries")  # type: ignore[misc]
                    line.proxy.refuse()
                    cut(line, number)
                line.noticed(watcher)
                line.writer.write_all(watcher.reply_to, [future.task_id for future in away])
                line.proxy.accept()
                for future in unacknowledged + away:
                    assert future.result(RECOVERED) == future.task_id
                wait_until(lambda number=number: watcher.stats().reconnects == number, "the count", RECOVERED)  # type: ignore[misc]
                futures += UNACKNOWLEDGED + WHILE_AWAY
        assert load.errors == []
        assert all(load.outcomes)
        stats = watcher.stats()
        print(
            f"{cuts} cuts: reconnects = {stats.reconnects}, redelivered = {stats.redelivered}; "
            f"resolved {futures} at cuts, {IDS_OF_LOAD * len(load.outcomes)} of the load; 0 lost"
        )
        assert stats.redelivered > 0
        assert stats.reconnects == cuts
        assert (stats.queues_lost, stats.evicted, stats.failed) == (0, 0, 0)
        wait_until(lambda: line.writer.counts(watcher.reply_to) == (0, 1), "the queue to be empty")
