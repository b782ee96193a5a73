"""Children of a parent that is busy with replies: nobody loses one, however often, and whichever way, it forks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bgresults import AMQPOptions, ResultWatcher
from tests.support import wait_until
from tests.support.children import run_in_children
from tests.support.forks import c_fork
from tests.support.results import new_ids
from tests.support.rpc_lines import WAIT, shared_node, shared_node_ca
from tests.support.rpc_load import IDS_OF_LOAD, Load, resolves

pytestmark = pytest.mark.rabbitmq

CHILDREN = 4
WAITS = 10


@pytest.fixture(params=["plain", pytest.param("tls", marks=pytest.mark.tls)])
def direct_watcher(request: pytest.FixtureRequest) -> Iterator[ResultWatcher]:
    """No proxy of this process in between: its thread would wake for the first child while the next one is forked."""
    node, options = shared_node(), AMQPOptions(heartbeat=0)
    url = node.url()
    if request.param == "tls":
        url, options = node.tls_url(), AMQPOptions(heartbeat=0, ssl_ca_certs=str(shared_node_ca()))
    with ResultWatcher(url, amqp=options) as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_children_of_a_busy_parent(direct_watcher: ResultWatcher, rounds: int) -> None:
    """Ten waits in each of four children at a time, while the parent waits as well."""
    node, watcher = shared_node(), direct_watcher
    kept = watcher.watch_many(new_ids(100))
    queue, url = watcher.reply_to, node.url()

    def child() -> None:
        assert watcher.reply_to != queue
        resolves(watcher, url, WAITS)
        # Counted a moment after whoever waits for it is told.
        wait_until(lambda: watcher.stats().resolved == WAITS, "the last one to be counted")
        stats = watcher.stats()
        assert (stats.watched, stats.resolved, stats.pending, stats.reconnects) == (WAITS, WAITS, 0, 0)
        watcher.close()

    codes: dict[str, list[int]] = {"os.fork": [], "C-level fork": []}
    with Load(watcher, url) as load:
        for number in range(rounds):
            load.until_there_is_more()
            if number % 2 == 0:
                codes["os.fork"] += run_in_children(CHILDREN, child, fork=os.fork)
            else:
                codes["C-level fork"] += run_in_children(CHILDREN, child, fork=c_fork, quiet=load.standing_still)
            assert load.writer.consumers(queue) == 1
        load.stop()
        assert load.errors == []
        assert all(load.outcomes)
        load.writer.write_all(queue, [future.task_id for future in kept])
        assert [future.result(WAIT) for future in kept] == [future.task_id for future in kept]
    well = {name: WAITS * found.count(0) for name, found in codes.items()}
    print(f"{rounds} rounds: resolved in the children {well}, in the parent {IDS_OF_LOAD * len(load.outcomes)}")
    assert well == dict.fromkeys(codes, WAITS * CHILDREN * rounds // 2), f"exit codes {codes}"
    assert (watcher.stats().reconnects, watcher.stats().redelivered) == (0, 0)
