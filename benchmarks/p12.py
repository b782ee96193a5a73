"""P12: a reconnect with 100 000 pending ids, all of whose results were stored meanwhile.

The results are put into another database of the same server beforehand. Then one transaction cuts the watcher's
connections and swaps the two databases: when it has its next connections, everything is stored, and no message will
ever say so. The clock starts before the transaction is sent and stops when the last future has its result. Another
client, in a process of its own, sends PING all the while.
"""

from __future__ import annotations

import time

from bgresults.benchmarking import AtMost, Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import OURS, PATIENCE, Ours
from bgresults.benchmarking.pinging import Pinger
from bgresults.benchmarking.waiting import until_subscribed
from bgresults.benchmarking.wire import new_ids, payload
from bgresults.testing.servers import LOOPBACK, RedisServer

COUNT = 100_000
SIZE = 200
# The database in which results lie until the swap.
ASIDE = 1


def measure(lab: Lab) -> None:
    """A server of this question's own, so that all of its clients are known.

    Each round has a watcher of its own: one that loses its connections every few seconds waits before the next ones.
    """
    count = lab.size(COUNT, 20_000)
    with RedisServer() as server:
        for _ in lab.rounds():
            contender = Ours(server.url(), max_pending=count * 2)
            _one_round(lab, server, contender, count)
            contender.close()
            with server.client() as client:
                client.flushall()
    lab.note(f"{count} results of {SIZE} bytes")


def _one_round(lab: Lab, server: RedisServer, contender: Ours, count: int) -> None:
    watcher, task_ids = contender.watcher, new_ids(count)
    before = watcher.stats()
    futures = watcher.watch_many(task_ids)
    until_subscribed(server.url(), task_ids)
    _store(server, task_ids)
    with server.client() as client:
        own = client.client_id()
        watching = [each["addr"] for each in client.client_list() if int(each["id"]) != own]
        with Pinger(LOOPBACK, server.port) as pinger, lab.measuring():
            cut = client.pipeline(transaction=True)
            for address in watching:
                cut.execute_command("CLIENT", "KILL", "ADDR", address)
            cut.execute_command("SWAPDB", 0, ASIDE)
            started = time.monotonic()
            cut.execute()
            for future in futures:
                future.result(PATIENCE)
            ended = time.monotonic()
            pings = pinger.between(started, ended)
    after = watcher.stats()
    if len(watching) != 2 or after.reconnects - before.reconnects != 1 or after.recovered - before.recovered != count:
        raise RuntimeError(f"this was no reconnect that recovered {count} results: {before} and then {after}")
    lab.record("all resolved, s", OURS, ended - started)
    for metric, milliseconds in (
        ("p50", percentile(pings, 50)),
        ("p99", percentile(pings, 99)),
        ("longest", max(pings)),
    ):
        lab.record(f"PING of another client, {metric}, ms", OURS, milliseconds * 1000)


def _store(server: RedisServer, task_ids: list[str]) -> None:
    with server.client(db=ASIDE) as client:
        for start in range(0, len(task_ids), 1000):
            part = task_ids[start : start + 1000]
            client.mset({f"celery-task-meta-{task_id}": payload(task_id, SIZE) for task_id in part})


QUESTION = Question(
    title="a reconnect with 100 000 pending ids, all results stored meanwhile",
    unit="as named",
    checks=[
        AtMost("all resolved, s", floor=1.5, goal=0.5, unit="s"),
        AtMost("PING of another client, p99, ms", floor=10, goal=3, unit="ms"),
    ],
    measure=measure,
    decimals=2,
)
