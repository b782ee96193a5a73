"""P13: connections to the server with 1, 64 and 500 waiting threads, also during an outage.

Counted by the kernel's table: established connections of the waiting process to the server's port. Every contender
waits in a process of its own for a server of its own, both of which are thrown away, so that nobody's connections are
another one's; those of ours for each number of threads at the same time. Then the server is killed and started again,
and the connections are counted all the while ("outage": the most at any moment from the kill on until a second after
somebody is connected again) and at the end ("after").
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from bgresults.benchmarking import Chart, Exactly, Lab, NeverAbove, Question
from bgresults.benchmarking.checks import Check
from bgresults.benchmarking.contenders import CELERY_DEFAULT, CELERY_SHARED, OURS, Ours, Theirs
from bgresults.benchmarking.waiting import until
from bgresults.benchmarking.wire import new_ids
from bgresults.testing.servers import RedisServer
from bgresults.testing.sockets import connections_to

THREADS = (1, 64, 500)
MOMENTS = ("waiting", "outage", "after")
# Seconds after which a server that is back must have been found: nobody rests longer between two attempts.
PATIENCE = 20.0


def measure(lab: Lab) -> None:
    """Servers of this question's own, since they are killed."""
    if connections_to(lab.server.port) is None:
        raise RuntimeError("connections can be counted on Linux only")
    for number in lab.rounds():
        # A count needs no median: Celery's are taken once.
        for name in (OURS, CELERY_DEFAULT, CELERY_SHARED) if number == 0 and not lab.quick else (OURS,):
            # Celery's depend on how many threads connect at the same moment: with nobody beside them.
            with ThreadPoolExecutor(len(THREADS) if name == OURS else 1) as pool:
                counted = list(pool.map(partial(_counts, name), THREADS))
            for threads, counts in zip(THREADS, counted, strict=True):
                for moment, count in zip(MOMENTS, counts, strict=True):
                    lab.record(f"{threads} threads, {moment}", name, count)


def _counts(name: str, threads: int) -> list[int]:
    context = multiprocessing.get_context("spawn")
    with RedisServer() as server:
        ours, theirs = context.Pipe()
        process = context.Process(target=_wait_in, args=(theirs, name, server.url(), server.port, threads), daemon=True)
        process.start()
        try:
            _hear(ours)  # Everybody waits.
            server.kill()
            ours.send("the server is gone")
            time.sleep(0.5)
            server.start()
            ours.send("the server is back")
            counts: list[int] = _hear(ours)
        finally:
            process.kill()
            process.join()
    return counts


def _hear(pipe: Connection) -> Any:
    if not pipe.poll(60.0):
        raise RuntimeError("the waiting process says nothing")
    return pipe.recv()


def _wait_in(pipe: Connection, name: str, url: str, port: int, threads: int) -> None:
    """The waiting process."""
    # Celery logs each failed attempt of each thread.
    logging.disable()
    contender = Ours(url) if name == OURS else Theirs(url, shared=name == CELERY_SHARED)
    for task_id in new_ids(threads):
        threading.Thread(target=_wait, args=(contender, task_id), daemon=True).start()
    # Imports are done, and somebody has connected.
    until(lambda: bool(connections_to(port)), "somebody is connected")
    waiting = _settled(port)
    pipe.send("waiting")
    pipe.recv()
    outage = 0
    end = float("inf")
    back = False
    while time.monotonic() < end:
        now = connections_to(port) or 0
        outage = max(outage, now)
        if not back and pipe.poll():
            pipe.recv()
            back, end = True, time.monotonic() + PATIENCE
        elif back and now:
            back, end = False, time.monotonic() + 1.0
        time.sleep(0.002)
    pipe.send([waiting, outage, _settled(port)])
    time.sleep(60.0)


def _wait(contender: Ours | Theirs, task_id: str) -> None:
    try:
        if isinstance(contender, Theirs):
            contender.app.AsyncResult(task_id).get(timeout=PATIENCE * 3)
        else:
            contender.watcher.watch(task_id).result(PATIENCE * 3)
    except Exception:  # noqa: BLE001 - Celery's threads do not survive the outage: not the question here
        return


def _settled(port: int) -> int:
    """The number of connections, once it has not changed for half a second."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = connections_to(port) or 0
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.02)
    return last


def _checks() -> list[Check]:
    checks: list[Check] = []
    for threads in THREADS:
        checks.append(Exactly(f"{threads} threads, waiting", 2))
        # Between two attempts to connect there are fewer.
        checks.append(NeverAbove(f"{threads} threads, outage", 2))
        checks.append(Exactly(f"{threads} threads, after", 2))
    return checks


QUESTION = Question(
    title="connections of one process to the result backend",
    unit="connections",
    checks=_checks(),
    measure=measure,
    charts=[
        Chart(
            name="connections",
            title="connections of one process, against the threads that wait",
            x="waiting threads",
            y="connections",
            lines={"": {threads: f"{threads} threads, waiting" for threads in THREADS}},
        )
    ],
    decimals=0,
)
